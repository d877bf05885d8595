package main

import (
	"encoding/base64"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// checkpoint is a verified C2SP tlog-checkpoint.
type checkpoint struct {
	origin string
	tree   tlog.Tree
}

// openCheckpoint verifies the signature and reads origin, size and root.
// x/mod's own ParseTree knows only the Go checksum database's header line.
func openCheckpoint(signed []byte, key note.Verifier) (*checkpoint, error) {
	opened, err := note.Open(signed, note.VerifierList(key))
	if err != nil {
		return nil, findingAt(-1, "checkpoint: %v", err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[len(lines)-1] != "" {
		return nil, findingAt(-1, "checkpoint: needs origin, size and root lines")
	}
	if lines[0] != key.Name() {
		return nil, findingAt(-1, "checkpoint: origin `%s` is not the key's name `%s`", lines[0], key.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return nil, findingAt(-1, "checkpoint: size `%s` is not a plain decimal", lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return nil, findingAt(-1, "checkpoint: root `%s` is not base64 of 32 bytes", lines[2])
	}
	return &checkpoint{origin: lines[0], tree: tlog.Tree{N: size, Hash: tlog.Hash(root)}}, nil
}

func readCheckpoint(path string, key note.Verifier) (*checkpoint, error) {
	signed, err := os.ReadFile(path)
	if err != nil {
		return nil, findingAt(-1, "checkpoint: %v", err)
	}
	return openCheckpoint(signed, key)
}
