package config

import (
	"fmt"
	"strconv"
	"strings"
)

// properties reads the format of Java's Properties class: KEY=VALUE, KEY:VALUE or KEY VALUE. A
// backslash continues a line or escapes a letter; # and ! begin comments.
func (p *parsed) properties(text string) {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		first := i
		line := strings.TrimLeft(lines[i], " \t\f")
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		for continues(line) && i+1 < len(lines) {
			i++
			line = line[:len(line)-1] + strings.TrimLeft(lines[i], " \t\f")
		}
		p.property(first+1, line)
	}
}

// continues reports whether a line ends in a backslash that is not itself escaped.
func continues(line string) bool {
	n := len(line) - len(strings.TrimRight(line, `\`))
	return n%2 == 1
}

func (p *parsed) property(line int, text string) {
	end := keyEnd(text)
	rest := strings.TrimLeft(text[end:], " \t\f")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = rest[1:]
	}
	key, err := unescape(text[:end])
	value, err2 := unescape(strings.TrimLeft(rest, " \t\f"))
	if err == nil {
		err = err2
	}
	if err == nil && key == "" {
		err = fmt.Errorf("want KEY=VALUE")
	}
	if err != nil {
		p.problem(line, orFile(key), err.Error())
		return
	}
	p.entries = append(p.entries, Entry{Key: key, Value: strings.TrimSpace(value), At: p.at(line)})
}

// keyEnd returns where the key's text ends: at the first separator that is not escaped.
func keyEnd(text string) int {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '=', ':', ' ', '\t', '\f':
			return i
		}
	}
	return len(text)
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 't':
			out.WriteByte('\t')
		case 'n':
			out.WriteByte('\n')
		case 'r':
			out.WriteByte('\r')
		case 'f':
			out.WriteByte('\f')
		case 'u':
			if i+5 > len(s) {
				return "", fmt.Errorf(`\u wants four hexadecimal digits`)
			}
			n, err := strconv.ParseUint(s[i+1:i+5], 16, 16)
			if err != nil {
				return "", fmt.Errorf(`\u wants four hexadecimal digits`)
			}
			out.WriteRune(rune(n))
			i += 4
		default:
			out.WriteByte(s[i])
		}
	}
	return out.String(), nil
}
