package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const proofHeader = "c2sp.org/tlog-proof@v1"

// proofFile is a C2SP tlog-proof.
type proofFile struct {
	extra      []byte
	hasExtra   bool
	index      int64
	path       tlog.RecordProof
	checkpoint []byte
}

// parseProof reads the header, the optional extra line, the index, the hashes
// up to an empty line, and the checkpoint after it.
func parseProof(text []byte) (*proofFile, error) {
	head, signed, found := bytes.Cut(text, []byte("\n\n"))
	if !found {
		return nil, findingAt(-1, "proof: no empty line before the checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	if lines[0] != proofHeader {
		return nil, findingAt(-1, "proof: the first line is `%s`", lines[0])
	}
	lines = lines[1:]
	proof := &proofFile{checkpoint: signed}
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		extra, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(lines[0], "extra "))
		if err != nil {
			return nil, findingAt(-1, "proof: the extra line is not base64")
		}
		proof.extra, proof.hasExtra, lines = extra, true, lines[1:]
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return nil, findingAt(-1, "proof: no index line")
	}
	digits := strings.TrimPrefix(lines[0], "index ")
	index, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || index < 0 || strconv.FormatInt(index, 10) != digits {
		return nil, findingAt(-1, "proof: index `%s` is not a plain decimal", digits)
	}
	proof.index = index
	for _, line := range lines[1:] {
		hash, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(hash) != tlog.HashSize {
			return nil, findingAt(index, "proof: `%s` is not base64 of 32 bytes", line)
		}
		proof.path = append(proof.path, tlog.Hash(hash))
	}
	return proof, nil
}

func checkProof(path string, key note.Verifier, leafPath string) (map[string]any, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	proof, err := parseProof(text)
	if err != nil {
		return nil, err
	}
	leaf := proof.extra
	if leafPath != "" {
		given, err := os.ReadFile(leafPath)
		if err != nil {
			return nil, err
		}
		if proof.hasExtra && !bytes.Equal(given, leaf) {
			return nil, findingAt(proof.index, "proof: the given entry is not the one the proof carries")
		}
		leaf = given
	} else if !proof.hasExtra {
		return nil, fmt.Errorf("the proof carries no entry, give it with --leaf")
	}
	signed, err := openCheckpoint(proof.checkpoint, key)
	if err != nil {
		return nil, err
	}
	if proof.index >= signed.tree.N {
		return nil, findingAt(proof.index, "entry %d is beyond the %d entries of the checkpoint", proof.index, signed.tree.N)
	}
	if err := tlog.CheckRecord(proof.path, signed.tree.N, signed.tree.Hash, proof.index, tlog.RecordHash(leaf)); err != nil {
		return nil, findingAt(proof.index, "entry %d is not under the signed root: %v", proof.index, err)
	}
	return map[string]any{
		"origin": signed.origin, "size": signed.tree.N, "root": signed.tree.Hash.String(),
		"index": proof.index, "leaf_bytes": len(leaf),
	}, nil
}
