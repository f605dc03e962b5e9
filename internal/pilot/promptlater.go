package pilot

import "context"

type promptKey struct{}

// PromptLater returns a context within which PromptNow leaves the finish to the function that is returned with it. It is
// for what runs around a handler further out than the client's middleware, and still has things to do, or to say, before
// an attempt may end. The function does nothing when there was no finish; both belong to one goroutine.
func PromptLater(ctx context.Context) (context.Context, func()) {
	later := new(func())
	return context.WithValue(ctx, promptKey{}, later), func() {
		if *later != nil {
			(*later)()
		}
	}
}

// PromptNow calls finish, unless somebody further out has asked to be the one who does.
func PromptNow(ctx context.Context, finish func()) {
	if later, ok := ctx.Value(promptKey{}).(*func()); ok {
		*later = finish
		return
	}
	finish()
}
