package client

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the stories' answers anew; read the diff before you believe it")

// TestStories plays testdata/*.story. Lines that begin with "$ " are run, in order and with one
// broker per story. What they print is below them, with "2> " before each line of the standard
// error and "[exit N]" unless N is 0. Commands may be piped, and fed by printf.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.story")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".story"), func(t *testing.T) {
			t.Parallel()
			story, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(story))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(story) {
				t.Errorf("%s: answers differ at %s", file, firstDifference(string(story), got))
			}
		})
	}
}

// play runs the story's commands and returns the story with their answers.
func play(t *testing.T, story string) string {
	addr := startBroker(t).addr
	folder := t.TempDir()
	var out strings.Builder
	for _, line := range strings.Split(story, "\n") {
		command, ok := strings.CutPrefix(line, "$ ")
		if ok {
			answer := pipeline(t, within(t), addr, strings.ReplaceAll(command, "FOLDER", folder))
			out.WriteString(line + "\n" + blur(strings.ReplaceAll(answer, folder, "FOLDER"), addr))
		} else if line == "" || strings.HasPrefix(line, "#") {
			out.WriteString(line + "\n")
		}
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

// pipeline runs commands, each with the output of the previous one as its input.
func pipeline(t *testing.T, ctx context.Context, addr, line string) string {
	var stdout string
	var said strings.Builder
	exit := 0
	for _, words := range split(t, line) {
		if words[0] == "printf" {
			text, err := unescape(words[1])
			if err != nil {
				t.Fatal(err)
			}
			stdout = text
			continue
		}
		if words[0] != "sluice" {
			t.Fatalf("%s: stories run sluice and printf", line)
		}
		args := append(words[1:], "--brokers", addr)
		var stderr string
		stdout, stderr, exit = run(ctx, strings.NewReader(stdout), args...)
		for l := range strings.Lines(stderr) {
			said.WriteString("2> " + l)
		}
	}
	answer := strings.ReplaceAll(stdout, "\n\n", "\n.\n") // an empty line would end the answer
	if answer != "" && !strings.HasSuffix(answer, "\n") {
		answer += "\\\n" // no newline at the end
	}
	answer += said.String()
	if exit != 0 {
		answer += fmt.Sprintf("[exit %d]\n", exit)
	}
	return answer
}

// split splits a line as a shell does: words, 'quoted words', and | between commands.
func split(t *testing.T, line string) [][]string {
	commands := [][]string{nil}
	for _, w := range regexp.MustCompile(`'[^']*'|[^\s']+`).FindAllString(line, -1) {
		last := len(commands) - 1
		if w == "|" {
			commands = append(commands, nil)
			continue
		}
		commands[last] = append(commands[last], strings.Trim(w, "'"))
	}
	return commands
}

// blurs are the parts that are new in each run, with replacements of the same length.
var blurs = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`), "2026-00-00T00:00:00.000Z"},
	{regexp.MustCompile(`(Id: +|"id": "|  id: )[\w-]{22}`), "${1}TOPIC-ID-TOPIC-ID-TOPI"},
	{regexp.MustCompile(`\b1[7-9]\d{11}\b`), "NOW-IN-MS-NOW"},
}

func blur(s, addr string) string {
	s = strings.ReplaceAll(s, addr, "BROKER")
	for _, b := range blurs {
		s = b.what.ReplaceAllString(s, b.by)
	}
	return s
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d:\nwant %s\ngot  %s", i+1, a, b)
		}
	}
	return "the end"
}
