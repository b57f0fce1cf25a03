package house

import (
	"strings"
	"testing"
	"testing/fstest"
)

// planted builds a small tree with one fault in it.
func planted(t *testing.T, files map[string]string) *tree {
	t.Helper()
	m := fstest.MapFS{}
	for name, src := range files {
		m[name] = &fstest.MapFile{Data: []byte(src)}
	}
	tr, err := load(m)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// Each check finds the fault that is planted for it, and nothing else.
func TestChecksCanFail(t *testing.T) {
	ours := `"` + module + `/`
	for _, c := range []struct {
		name  string
		files map[string]string
		check func(*tree) []string
		want  string // a part of the only problem; empty if there must be none
	}{
		{"direct edge", map[string]string{"wal/a.go": "package wal\nimport _ " + ours + `metadata"`, "metadata/b.go": "package metadata"},
			edges, "wal must not import metadata (wal -> metadata)"},
		{"edge through another package", map[string]string{"wal/a.go": "package wal\nimport _ " + ours + `ident"`,
			"ident/i.go": "package ident\nimport _ " + ours + `metadata/raft"`, "metadata/raft/b.go": "package raft"},
			edges, "wal must not import metadata (wal -> ident -> metadata/raft)"},
		{"a layer between is the right way", map[string]string{"broker/a.go": "package broker\nimport _ " + ours + `storage"`,
			"storage/i.go": "package storage\nimport _ " + ours + `wal"`, "wal/b.go": "package wal"}, edges, ""},
		{"past the layer between", map[string]string{"broker/a.go": "package broker\nimport _ " + ours + `wal"`, "wal/b.go": "package wal"},
			edges, "storage is the only way to the WAL"},
		{"tests may reach further", map[string]string{"wal/a_test.go": "package wal\nimport _ " + ours + `metadata"`, "metadata/b.go": "package metadata"},
			edges, ""},
		{"nothing imports cmd", map[string]string{"bench/a.go": "package bench\nimport _ " + ours + `cmd/sluice"`, "cmd/sluice/b.go": "package main"},
			edges, "must not import cmd"},
		{"cmd may import all", map[string]string{"cmd/sluice/a.go": "package main\nimport _ " + ours + `wal"`, "wal/b.go": "package wal"},
			edges, ""},
		{"black box", map[string]string{"compat-tests/a_test.go": "package compat\nimport _ " + ours + `ident"`, "ident/b.go": "package ident"},
			edges, "black box"},
		{"compat-tests among themselves", map[string]string{"compat-tests/a_test.go": "package compat\nimport _ " + ours + `compat-tests/history"`, "compat-tests/history/b.go": "package history"},
			edges, ""},
		{"codec with a socket", map[string]string{"protocol/a.go": `package protocol
import _ "net"`}, edges, "protocol must not import net"},
		{"goroutine in a core", map[string]string{"metadata/a.go": "package metadata\nfunc f() { go f() }"}, core, "starts a goroutine"},
		{"clock in a core", map[string]string{"metadata/a.go": "package metadata\nimport \"time\"\nvar now = time.Now"}, core, "time.Now"},
		{"chance in a core", map[string]string{"metadata/a.go": "package metadata\nimport _ \"math/rand/v2\""}, core, "chance"},
		{"core without code", map[string]string{"wal/a.go": "package wal"}, core, "has no code"},
		{"clean core", map[string]string{"metadata/a.go": "package metadata\nimport \"time\"\nvar d time.Duration"}, core, ""},
		{"no package comment", map[string]string{"wal/a.go": "package wal"}, checkPackageDocs, "has 0 package comments"},
		{"two package comments", map[string]string{"wal/doc.go": "// Imports: none.\npackage wal", "wal/wal.go": "// Again.\npackage wal"}, checkPackageDocs, "has 2"},
		{"no word on imports", map[string]string{"wal/doc.go": "// Package wal.\npackage wal"}, checkPackageDocs, "does not say what"},
		{"comment in the wrong file", map[string]string{"wal/x.go": "// Imports: none.\npackage wal"}, checkPackageDocs, "belongs in doc.go"},
		{"sleep", map[string]string{"wal/a_test.go": "package wal\nimport \"time\"\nfunc f() { time.Sleep(1) }"}, checkSleep, "time.Sleep"},
		{"sleep in a bubble", map[string]string{"wal/a_test.go": "package wal\nimport (\"time\"\n\"testing/synctest\")\nfunc inBubble() { synctest.Test(nil, nil) }\nfunc TestA() { inBubble(); time.Sleep(1) }"}, checkSleep, ""},
		{"sleep of a helper in a package with bubbles", map[string]string{"wal/a_test.go": "package wal\nimport \"testing/synctest\"\nfunc inBubble() { synctest.Test(nil, nil) }", "wal/b_test.go": "package wal\nimport \"time\"\nfunc wait() { time.Sleep(1) }"}, checkSleep, ""},
		{"sleep beside a bubble", map[string]string{"wal/a_test.go": "package wal\nimport \"testing/synctest\"\nfunc inBubble() { synctest.Test(nil, nil) }", "wal/b_test.go": "package wal\nimport \"time\"\nfunc TestB() { time.Sleep(1) }"}, checkSleep, "time.Sleep"},
		{"dead link", map[string]string{"README.md": "see [it](docs/it.md#part)"}, func(tr *tree) []string { return checkLinks(tr.root) }, "docs/it.md"},
		{"map of what is there", map[string]string{mapPage: fence + "wal/   a.go\nstorage/   b.go\n  c.go   that\n" + fence, "wal/a.go": "package wal", "storage/b.go": "package storage", "storage/c.go": "package storage"}, checkFileMap, ""},
		{"map with a file that is gone", map[string]string{mapPage: fence + "wal/   a.go\n  b.go   that\n" + fence, "wal/a.go": "package wal"}, checkFileMap, "names wal/b.go, which does not exist"},
		{"map without a package", map[string]string{mapPage: fence + "wal/   a.go\n" + fence, "wal/a.go": "package wal", "vfs/a.go": "package vfs"}, checkFileMap, "does not name package vfs"},
		{"map without a file", map[string]string{mapPage: fence + "storage/   a.go\n" + fence, "storage/a.go": "package storage", "storage/b.go": "package storage"}, checkFileMap, "does not name storage/b.go"},
		{"wide comment", map[string]string{"wal/a.go": "package wal\n\n// " + strings.Repeat("ä", 98) + "\n"}, narrow, "wal/a.go:3: a comment ends at column 101"},
		{"wide line with a comment behind code", map[string]string{"wal/a.go": "package wal\n\nfunc f() {\n\tf() // " + strings.Repeat("a", 90) + "\n}\n"}, narrow, "wal/a.go:4: a comment ends at column 101"},
		{"comments that fit, and wide code", map[string]string{"wal/a.go": "package wal\n\n// " + strings.Repeat("ä", 97) + "\nvar s = `" + strings.Repeat("// ", 50) + "`\n"}, narrow, ""},
		{"note from elsewhere", map[string]string{"wal/a.go": "package wal\n// So it is (trap 12).\n"}, checkCitations, "trap 12 is no page"},
		{"page that is gone", map[string]string{"wal/a.go": "package wal\n// See docs/formats/wal.md.\n"}, checkCitations, "docs/formats/wal.md, which does not exist"},
		{"page that is there", map[string]string{"wal/a.go": "package wal\n// See docs/formats/wal.md.\n", "docs/formats/wal.md": ""}, checkCitations, ""},
		{"number not explained", map[string]string{"wal/a.go": "package wal\n// I7\n"}, explained("I8"), "I7 is not listed"},
		{"number in a test not explained", map[string]string{"wal/a_test.go": "package wal\nfunc TestE25_Torn() {}\n"}, explained("E2"), "E25 is not listed"},
		{"number that does not exist", map[string]string{"wal/a.go": "package wal\n// I17\n"}, explained("I17"), "there is no I17"},
		{"I/O is not a number", map[string]string{"wal/a.go": "package wal\n// I/O of 2E5 bytes, E2E\n"}, explained(""), ""},
		{"invariant without a test", map[string]string{"wal/a.go": "package wal\n// I7\n", "wal/a_test.go": "package wal\n// I8\n"}, tested, "claims I7"},
		{"invariant with a test", map[string]string{"wal/a.go": "package wal\n// I7\n", "wal/a_test.go": "package wal\nfunc TestE2_I7_End() {}\n"}, tested, ""},
		{"rule without a test", map[string]string{"wal/a_test.go": "package wal\n// E25\nfunc TestTorn() {}\n"}, played, "E25 has no test"},
		{"rule with a test", map[string]string{"wal/a_test.go": "package wal\nfunc TestE25_Torn() {}\n"}, played, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.check(planted(t, c.files))
			if c.want == "" && len(got) > 0 {
				t.Errorf("found %q in a clean tree", got)
			}
			if c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
				t.Errorf("found %q, want one problem with %q", got, c.want)
			}
		})
	}
}

func edges(tr *tree) []string  { return checkForbidden(tr, forbidden) }
func core(tr *tree) []string   { return checkPure(tr, []string{"metadata"}) }
func narrow(tr *tree) []string { return checkCommentWidth(tr, []string{"wal"}) }
func tested(tr *tree) []string { return checkInvariantsTested(collect(tr)) }
func played(tr *tree) []string { return checkRulesPlayed(collect(tr), []int{25}) }

func explained(page string) func(*tree) []string {
	return func(tr *tree) []string { return checkExplained(collect(tr), page) }
}
