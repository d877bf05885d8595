package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	proofHeader    = "c2sp.org/tlog-proof@v1"
	evidenceHeader = "bailiwick/evidence@v1"
)

// evidence is what a Bailiwick proof carries in its extra line: the entry
// and, where its payload is disclosed, what opens the entry's commitment.
type evidence struct {
	leaf, key, payload []byte
}

// parseEvidence reads the lines `leaf B64` and, both or neither, `key B64`
// and `payload B64`, each ending in a newline, after the header.
func parseEvidence(extra []byte) (*evidence, error) {
	found := &evidence{}
	lines := strings.Split(string(extra), "\n")
	if len(lines) < 3 || lines[0] != evidenceHeader || lines[len(lines)-1] != "" {
		return nil, findingAt(-1, "proof: the extra line does not hold %s", evidenceHeader)
	}
	lines = lines[1 : len(lines)-1]
	fields := []struct {
		name string
		into *[]byte
	}{{"leaf ", &found.leaf}, {"key ", &found.key}, {"payload ", &found.payload}}
	if len(lines) != 1 && len(lines) != len(fields) {
		return nil, findingAt(-1, "proof: the evidence has %d lines, 1 or 3 are allowed", len(lines))
	}
	for i, line := range lines {
		value, fits := strings.CutPrefix(line, fields[i].name)
		bytes, err := base64.StdEncoding.Strict().DecodeString(value)
		if !fits || err != nil {
			return nil, findingAt(-1, "proof: evidence line `%s` is not `%sBASE64`", line, fields[i].name)
		}
		*fields[i].into = bytes
	}
	return found, nil
}

// opens tells whether the disclosed payload is the one the leaf commits to:
// HMAC-SHA-256 of the payload under the tenant's log key.
func (e *evidence) opens() error {
	var leaf struct {
		Commitment string `json:"commitment"`
	}
	if err := json.Unmarshal(e.leaf, &leaf); err != nil {
		return fmt.Errorf("the entry is not JSON: %w", err)
	}
	committed, err := hex.DecodeString(leaf.Commitment)
	if err != nil {
		return fmt.Errorf("the entry's commitment is not hex: %w", err)
	}
	mac := hmac.New(sha256.New, e.key)
	mac.Write(e.payload)
	if !hmac.Equal(mac.Sum(nil), committed) {
		return fmt.Errorf("the payload is not the one the entry commits to")
	}
	return nil
}

// proofFile is a C2SP tlog-proof.
type proofFile struct {
	evidence   *evidence
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
		if proof.evidence, err = parseEvidence(extra); err != nil {
			return nil, err
		}
		lines = lines[1:]
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
	var leaf []byte
	if proof.evidence != nil {
		leaf = proof.evidence.leaf
	}
	if leafPath != "" {
		given, err := os.ReadFile(leafPath)
		if err != nil {
			return nil, err
		}
		if leaf != nil && !bytes.Equal(given, leaf) {
			return nil, findingAt(proof.index, "proof: the given entry is not the one the proof carries")
		}
		leaf = given
	}
	if leaf == nil {
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
	opened := proof.evidence != nil && proof.evidence.key != nil
	if opened {
		if err := proof.evidence.opens(); err != nil {
			return nil, findingAt(proof.index, "entry %d: %v", proof.index, err)
		}
	}
	return map[string]any{
		"origin": signed.origin, "size": signed.tree.N, "root": signed.tree.Hash.String(),
		"index": proof.index, "leaf": string(leaf), "opened": opened,
	}, nil
}
