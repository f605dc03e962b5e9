package doctor

// JudgeServer is what the check of versions says of a server, none of which can be had here.
func JudgeServer(major int) []Finding {
	e := &examination{check: "versions", report: &Report{}}
	e.judgeServer(major)
	return e.report.Findings
}
