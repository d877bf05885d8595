package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// algCosignature is the signature type of C2SP tlog-cosignature with Ed25519,
// which x/mod does not know; its notes, names and key hashes it does.
const algCosignature = 4

// cosigner verifies cosignatures of one witness. It implements note.Verifier.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }

// Verify takes eight bytes of time and an Ed25519 signature over the header
// `cosignature/v1`, the time, and the text of the note.
func (c *cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	time := binary.BigEndian.Uint64(signature)
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", time, text)
	return ed25519.Verify(c.key, []byte(signed), signature[8:])
}

// keyHash is the start of SHA-256 over name, newline, type and key, as in
// x/mod, which does not export it.
func keyHash(name string, key []byte) uint32 {
	sum := sha256.Sum256(append([]byte(name+"\n"), key...))
	return binary.BigEndian.Uint32(sum[:])
}

// newCosigner parses `name+hash+base64(type ‖ key)`.
func newCosigner(vkey string) (*cosigner, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not name+hash+key")
	}
	hash, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil || len(parts[1]) != 8 {
		return nil, errors.New("the hash is not 8 hex digits")
	}
	key, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != algCosignature {
		return nil, errors.New("not the Ed25519 key of a witness")
	}
	if want := keyHash(parts[0], key); want != uint32(hash) {
		return nil, fmt.Errorf("the hash is %08x, the key's is %08x", hash, want)
	}
	return &cosigner{name: parts[0], hash: uint32(hash), key: key[1:]}, nil
}

// checkCosigned demands a cosignature of every witness on the checkpoint file.
func checkCosigned(path string, log note.Verifier, witnesses []string) error {
	signed, err := os.ReadFile(path)
	if err != nil {
		return findingAt(-1, "cosigned checkpoint: %v", err)
	}
	known := []note.Verifier{log}
	for _, vkey := range witnesses {
		witness, err := newCosigner(vkey)
		if err != nil {
			return fmt.Errorf("key of a witness: %w", err)
		}
		known = append(known, witness)
	}
	opened, err := note.Open(signed, note.VerifierList(known...))
	if err != nil {
		return findingAt(-1, "cosigned checkpoint: %v", err)
	}
	if len(opened.Sigs) != len(known) {
		return findingAt(-1, "cosigned checkpoint: %d of %d signatures", len(opened.Sigs), len(known))
	}
	return nil
}
