// Command tlogcheck verifies a Bailiwick log and its proof files with code
// that Bailiwick did not write: golang.org/x/mod/sumdb/note for signatures and
// golang.org/x/mod/sumdb/tlog for the tree.
//
//	tlogcheck tiles --vkey KEY|FILE [--known CHECKPOINT]... [--from SIZE]... [--witness KEY]... DIR
//	tlogcheck proof --vkey KEY|FILE [--leaf FILE] FILE
//
// It prints one JSON object. The exit code is 0 when everything holds, 1 with
// "position" and "finding" when something does not, 2 for a wrong call.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// finding is a verdict against the log: what is wrong, and where.
// Position is an entry index; -1 means the finding has no place in the tree.
type finding struct {
	position int64
	text     string
}

func (f *finding) Error() string { return f.text }

func findingAt(position int64, format string, args ...any) error {
	return &finding{position: position, text: fmt.Sprintf(format, args...)}
}

// repeated collects a flag given several times.
type repeated []string

func (r *repeated) String() string { return strings.Join(*r, ",") }

func (r *repeated) Set(value string) error {
	*r = append(*r, value)
	return nil
}

// verifier reads a verifier key given directly or as the name of a file.
func verifier(key string) (note.Verifier, error) {
	if text, err := os.ReadFile(key); err == nil {
		key = strings.TrimSpace(string(text))
	}
	return note.NewVerifier(key)
}

func run(args []string) (map[string]any, error) {
	if len(args) == 0 {
		return nil, errors.New("usage: tlogcheck tiles|proof …")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	vkey := flags.String("vkey", "", "verifier key or a file that holds it")
	leaf := flags.String("leaf", "", "file with the entry's bytes, if the proof does not carry them")
	var known, from, witnesses repeated
	flags.Var(&known, "known", "an earlier checkpoint file that the log must extend")
	flags.Var(&from, "from", "an earlier size that the log must extend")
	flags.Var(&witnesses, "witness", "key of a witness that must have cosigned the log's checkpoint.witnessed")
	if err := flags.Parse(args[1:]); err != nil {
		return nil, err
	}
	if flags.NArg() != 1 || *vkey == "" {
		return nil, fmt.Errorf("%s needs --vkey and one path", args[0])
	}
	key, err := verifier(*vkey)
	if err != nil {
		return nil, fmt.Errorf("verifier key: %w", err)
	}
	switch args[0] {
	case "tiles":
		if len(witnesses) > 0 {
			cosigned := filepath.Join(flags.Arg(0), "checkpoint.witnessed")
			if err := checkCosigned(cosigned, key, witnesses); err != nil {
				return nil, err
			}
			known = append(known, cosigned)
		}
		return checkTiles(flags.Arg(0), key, known, from)
	case "proof":
		return checkProof(flags.Arg(0), key, *leaf)
	}
	return nil, fmt.Errorf("unknown command %q", args[0])
}

func main() {
	report, err := run(os.Args[1:])
	if err == nil {
		report["ok"] = true
		_ = json.NewEncoder(os.Stdout).Encode(report)
		return
	}
	var found *finding
	if !errors.As(err, &found) {
		fmt.Fprintln(os.Stderr, "tlogcheck:", err)
		os.Exit(2)
	}
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"ok": false, "position": found.position, "finding": found.text})
	fmt.Fprintf(os.Stderr, "tlogcheck: position %d: %s\n", found.position, found.text)
	os.Exit(1)
}
