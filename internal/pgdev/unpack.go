package pgdev

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/xi2/xz"
)

// unpackPrefix names what is in the making in the cache directory.
const unpackPrefix = "new-"

// unpack extracts the archive next to target and moves it there when it is
// whole. An os.Root holds the extraction: no name or link in the archive leads
// out of it.
func unpack(jar *os.File, target string) error {
	stream, err := openTxz(jar)
	if err != nil {
		return err
	}
	defer stream.Close()
	decoder, err := xz.NewReader(stream, 0)
	if err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(target), unpackPrefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	// The server's user reads it too, when root fetched it.
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(fresh)
	if err != nil {
		return err
	}
	defer root.Close()
	archive := tar.NewReader(decoder)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := unpackEntry(root, header, archive); err != nil {
			return fmt.Errorf("%q: %w", header.Name, err)
		}
	}
	return os.Rename(fresh, target)
}

func unpackEntry(root *os.Root, header *tar.Header, content io.Reader) error {
	name := filepath.Clean(filepath.FromSlash(header.Name))
	if header.Typeflag == tar.TypeDir {
		return makeDirIn(root, name)
	}
	if err := makeDirIn(root, filepath.Dir(name)); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeReg:
		// For everybody what the archive gives its owner: another user than the
		// one who unpacks it may run the server.
		mode := fs.FileMode(0o644)
		if header.Mode&0o100 != 0 {
			mode = 0o755
		}
		file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		return errors.Join(err, file.Chmod(mode), file.Close())
	case tar.TypeSymlink:
		return root.Symlink(header.Linkname, name)
	case tar.TypeLink:
		return root.Link(filepath.FromSlash(header.Linkname), name)
	}
	return nil
}

func makeDirIn(root *os.Root, name string) error {
	if name == "." {
		return nil
	}
	if _, err := root.Stat(name); err == nil {
		return nil
	}
	if err := root.MkdirAll(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return root.Chmod(name, 0o755)
}
