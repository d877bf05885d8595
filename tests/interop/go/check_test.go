package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const origin = "bailiwick.example/log"

// sample is a small log on disk whose writer shares no code with the checker
// but the hash functions.
type sample struct {
	dir     string
	vkey    string
	signer  note.Signer
	entries [][]byte
	leaves  []tlog.Hash
}

func newSample(t *testing.T, size int) *sample {
	t.Helper()
	secret, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	s := &sample{dir: t.TempDir(), vkey: vkey, signer: signer}
	for i := range size {
		entry := fmt.Appendf(nil, `{"kind":"decision","n":%d}`, i)
		s.entries = append(s.entries, entry)
		s.leaves = append(s.leaves, tlog.RecordHash(entry))
	}
	s.writeBundles(t)
	s.writeTiles(t)
	s.write(t, "checkpoint", s.checkpoint(t, size))
	return s
}

func (s *sample) write(t *testing.T, path string, data []byte) {
	t.Helper()
	full := filepath.Join(s.dir, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func tilePath(kind string, n, width int) string {
	path := fmt.Sprintf("%03d", n%1000)
	for rest := n / 1000; rest > 0; rest /= 1000 {
		path = fmt.Sprintf("x%03d/%s", rest%1000, path)
	}
	if width < tileWidth {
		path += fmt.Sprintf(".p/%d", width)
	}
	return fmt.Sprintf("tile/%s/%s", kind, path)
}

func (s *sample) writeBundles(t *testing.T) {
	for first := 0; first < len(s.entries); first += tileWidth {
		end := min(first+tileWidth, len(s.entries))
		var bundle []byte
		for _, entry := range s.entries[first:end] {
			bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(entry)))
			bundle = append(bundle, entry...)
		}
		s.write(t, tilePath("entries", first/tileWidth, end-first), bundle)
	}
}

func (s *sample) writeTiles(t *testing.T) {
	row := s.leaves
	for level := 0; len(row) > 0; level++ {
		var above []tlog.Hash
		for first := 0; first < len(row); first += tileWidth {
			end := min(first+tileWidth, len(row))
			var tile []byte
			for _, hash := range row[first:end] {
				tile = append(tile, hash[:]...)
			}
			s.write(t, tilePath(fmt.Sprint(level), first/tileWidth, end-first), tile)
			if end-first == tileWidth {
				above = append(above, s.rootOf(t, row[first:end]))
			}
		}
		row = above
	}
}

// rootOf splits at the largest power of two, as RFC 6962 §2.1 defines it.
func (s *sample) rootOf(t *testing.T, hashes []tlog.Hash) tlog.Hash {
	if len(hashes) == 0 {
		return emptyRoot
	}
	if len(hashes) == 1 {
		return hashes[0]
	}
	split := 1
	for split*2 < len(hashes) {
		split *= 2
	}
	return tlog.NodeHash(s.rootOf(t, hashes[:split]), s.rootOf(t, hashes[split:]))
}

func (s *sample) checkpoint(t *testing.T, size int) []byte {
	t.Helper()
	root := s.rootOf(t, s.leaves[:size])
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, s.signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// edit changes one file of the log.
func (s *sample) edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, path))
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, path, change(data))
}

func (s *sample) check(extra ...string) (map[string]any, error) {
	return run(append(append([]string{"tiles", "--vkey", s.vkey}, extra...), s.dir))
}

func wantFinding(t *testing.T, err error, position int64, text string) {
	t.Helper()
	var found *finding
	if !errors.As(err, &found) {
		t.Fatalf("expected a finding at %d, got %v", position, err)
	}
	if found.position != position || !strings.Contains(found.text, text) {
		t.Fatalf("expected position %d with %q, got %d: %s", position, text, found.position, found.text)
	}
}

func flip(at int) func([]byte) []byte {
	return func(data []byte) []byte {
		data[at] ^= 0x01
		return data
	}
}

func TestWholeLogsOfManySizes(t *testing.T) {
	for _, size := range []int{0, 1, 2, 255, 256, 257, 511, 512, 1000, 65_536 + 300} {
		s := newSample(t, size)
		s.write(t, "known", s.checkpoint(t, size/2))
		report, err := s.check("--known", filepath.Join(s.dir, "known"), "--from", fmt.Sprint(size*2/3))
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if report["entries"] != size || report["consistency_proofs"] != 2 {
			t.Fatalf("size %d: %v", size, report)
		}
	}
}

func TestFullTileStandsInForADroppedPartialOne(t *testing.T) {
	s := newSample(t, 300)
	small := s.checkpoint(t, 200)
	s.write(t, "checkpoint", small)
	if report, err := s.check(); err != nil || report["size"] != int64(200) {
		t.Fatalf("%v %v", report, err)
	}
}

func TestDamageIsNamedWithItsPosition(t *testing.T) {
	// Every sample entry below 10,000 of four digits is 30 bytes long in its bundle.
	offset := func(entries [][]byte, first, at int) int {
		sum := 0
		for _, entry := range entries[first:at] {
			sum += 2 + len(entry)
		}
		return sum
	}
	const size = 600
	bundle := tilePath("entries", 1, tileWidth)
	cases := []struct {
		what     string
		position int64
		text     string
		damage   func(t *testing.T, s *sample)
	}{
		{"a flipped byte in an entry", 300, "does not have the hash", func(t *testing.T, s *sample) {
			s.edit(t, bundle, flip(offset(s.entries, 256, 300)+5))
		}},
		{"a flipped byte in a leaf hash", 300, "does not have the hash", func(t *testing.T, s *sample) {
			s.edit(t, tilePath("0", 1, tileWidth), flip((300-256)*32))
		}},
		{"a removed entry", 310, "does not have the hash", func(t *testing.T, s *sample) {
			s.edit(t, bundle, func(data []byte) []byte {
				from, to := offset(s.entries, 256, 310), offset(s.entries, 256, 311)
				return append(append([]byte(nil), data[:from]...), data[to:]...)
			})
		}},
		{"two swapped entries", 320, "does not have the hash", func(t *testing.T, s *sample) {
			s.edit(t, bundle, func(data []byte) []byte {
				from, mid, to := offset(s.entries, 256, 320), offset(s.entries, 256, 321), offset(s.entries, 256, 322)
				swapped := append([]byte(nil), data[:from]...)
				swapped = append(swapped, data[mid:to]...)
				swapped = append(swapped, data[from:mid]...)
				return append(swapped, data[to:]...)
			})
		}},
		{"a truncated bundle", 511, "ends within entry", func(t *testing.T, s *sample) {
			s.edit(t, bundle, func(data []byte) []byte { return data[:len(data)-3] })
		}},
		{"a bundle without its last entry", 511, "holds 255 entries", func(t *testing.T, s *sample) {
			s.edit(t, bundle, func(data []byte) []byte { return data[:offset(s.entries, 256, 511)] })
		}},
		{"a removed bundle", 256, "no such file", func(t *testing.T, s *sample) {
			if err := os.Remove(filepath.Join(s.dir, bundle)); err != nil {
				t.Fatal(err)
			}
		}},
		{"an entry changed together with its leaf hash", 256, "level 1", func(t *testing.T, s *sample) {
			s.entries[300] = []byte(`{"kind":"decision","n":666}`)
			s.leaves[300] = tlog.RecordHash(s.entries[300])
			above, err := os.ReadFile(filepath.Join(s.dir, tilePath("1", 0, 2)))
			if err != nil {
				t.Fatal(err)
			}
			s.writeBundles(t)
			s.writeTiles(t)
			s.write(t, tilePath("1", 0, 2), above)
		}},
		{"a whole log rewritten under the old checkpoint", 256, "the first difference is in entries 256 to 399", func(t *testing.T, s *sample) {
			s.entries[300] = []byte(`{"kind":"decision","n":666}`)
			s.leaves[300] = tlog.RecordHash(s.entries[300])
			s.writeBundles(t)
			s.writeTiles(t)
		}},
		{"a forged checkpoint", -1, "checkpoint", func(t *testing.T, s *sample) {
			s.edit(t, "checkpoint", flip(len(origin)+2))
		}},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			s := newSample(t, size)
			known := func(size int) string { return filepath.Join(s.dir, fmt.Sprintf("known.%d", size)) }
			for _, at := range []int{256, 400} {
				s.write(t, fmt.Sprintf("known.%d", at), s.checkpoint(t, at))
			}
			c.damage(t, s)
			_, err := s.check("--known", known(256), "--known", known(400))
			wantFinding(t, err, c.position, c.text)
		})
	}
}

func TestForkIsNamed(t *testing.T) {
	s := newSample(t, 600)
	s.write(t, "known", s.checkpoint(t, 400))
	s.entries[10] = []byte("other history")
	s.leaves[10] = tlog.RecordHash(s.entries[10])
	s.writeBundles(t)
	s.writeTiles(t)
	s.write(t, "checkpoint", s.checkpoint(t, 600))
	_, err := s.check("--known", filepath.Join(s.dir, "known"))
	wantFinding(t, err, 400, "does not extend")
	s.entries, s.leaves = s.entries[:300], s.leaves[:300]
	s.writeBundles(t)
	s.writeTiles(t)
	s.write(t, "checkpoint", s.checkpoint(t, 300))
	_, err = s.check("--known", filepath.Join(s.dir, "known"))
	wantFinding(t, err, 300, "an earlier checkpoint had 400")
}

func (s *sample) proof(t *testing.T, n int, extra []byte) []byte {
	t.Helper()
	reader, err := stored(s.leaves)
	if err != nil {
		t.Fatal(err)
	}
	path, err := tlog.ProveRecord(int64(len(s.leaves)), int64(n), reader)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	fmt.Fprintln(&text, proofHeader)
	if extra != nil {
		fmt.Fprintf(&text, "extra %s\n", base64.StdEncoding.EncodeToString(extra))
	}
	fmt.Fprintf(&text, "index %d\n", n)
	for _, hash := range path {
		fmt.Fprintln(&text, base64.StdEncoding.EncodeToString(hash[:]))
	}
	fmt.Fprintf(&text, "\n%s", s.checkpoint(t, len(s.leaves)))
	return text.Bytes()
}

// carry writes what a Bailiwick proof holds in its extra line.
func carry(leaf, key, payload []byte) []byte {
	text := fmt.Sprintf("%s\nleaf %s\n", evidenceHeader, base64.StdEncoding.EncodeToString(leaf))
	if key != nil {
		text += fmt.Sprintf("key %s\npayload %s\n", base64.StdEncoding.EncodeToString(key), base64.StdEncoding.EncodeToString(payload))
	}
	return []byte(text)
}

func TestProofFiles(t *testing.T) {
	s := newSample(t, 700)
	path := filepath.Join(s.dir, "entry.tlog-proof")
	check := func(text []byte, extra ...string) error {
		s.write(t, "entry.tlog-proof", text)
		_, err := run(append(append([]string{"proof", "--vkey", s.vkey}, extra...), path))
		return err
	}
	for _, n := range []int{0, 255, 256, 699} {
		if err := check(s.proof(t, n, carry(s.entries[n], nil, nil))); err != nil {
			t.Fatalf("entry %d: %v", n, err)
		}
	}
	good := s.proof(t, 5, carry(s.entries[5], nil, nil))
	wantFinding(t, check(s.proof(t, 5, carry(s.entries[6], nil, nil))), 5, "not under the signed root")
	wantFinding(t, check(bytes.Replace(good, []byte("index 5\n"), []byte("index 4\n"), 1)), 4, "not under the signed root")
	wantFinding(t, check(bytes.Replace(good, []byte("index 5\n"), []byte("index 700\n"), 1)), 700, "beyond")
	wantFinding(t, check([]byte("c2sp.org/tlog-proof@v2\nindex 0\n\nx")), -1, "first line")
	wantFinding(t, check(s.proof(t, 5, s.entries[5])), -1, "does not hold")
	s.write(t, "leaf", s.entries[5])
	if err := check(s.proof(t, 5, nil), "--leaf", filepath.Join(s.dir, "leaf")); err != nil {
		t.Fatal(err)
	}
	if err := check(s.proof(t, 5, nil)); err == nil {
		t.Fatal("a proof without an entry must not pass")
	}
}

func TestProofOpensItsPayload(t *testing.T) {
	s := newSample(t, 10)
	key, payload := []byte("0123456789abcdef0123456789abcdef"), []byte(`{"decision_id":"dec_x"}`)
	mac := hmac.New(sha256.New, key)
	mac.Write(payload)
	s.entries[4] = fmt.Appendf(nil, `{"commitment":"%x","kind":"decision"}`, mac.Sum(nil))
	s.leaves[4] = tlog.RecordHash(s.entries[4])
	path := filepath.Join(s.dir, "entry.tlog-proof")
	s.write(t, "entry.tlog-proof", s.proof(t, 4, carry(s.entries[4], key, payload)))
	report, err := run([]string{"proof", "--vkey", s.vkey, path})
	if err != nil || report["opened"] != true {
		t.Fatalf("%v %v", report, err)
	}
	s.write(t, "entry.tlog-proof", s.proof(t, 4, carry(s.entries[4], key, []byte("other"))))
	_, err = run([]string{"proof", "--vkey", s.vkey, path})
	wantFinding(t, err, 4, "is not the one the entry commits to")
}

// TestTessera checks a log that the Tessera project wrote, if it is at hand.
func TestTessera(t *testing.T) {
	shared := os.Getenv("BAILIWICK_SHARED")
	if shared == "" {
		shared = "../../../../shared"
	}
	dir := filepath.Join(shared, "data", "vectors", "tlog-tiles")
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the vectors are missing: %v", err)
		}
		t.Skipf("SKIPPED: tlog-tiles vectors: %v", err)
	}
	args := []string{"tiles", "--vkey", filepath.Join(dir, "log.vkey")}
	known, err := filepath.Glob(filepath.Join(dir, "checkpoint.*"))
	if err != nil || len(known) == 0 {
		t.Fatalf("no checkpoints: %v", err)
	}
	for _, path := range known {
		args = append(args, "--known", path)
	}
	report, err := run(append(args, dir))
	if err != nil {
		t.Fatal(err)
	}
	if report["entries"] != 15 || report["consistency_proofs"] != len(known) {
		t.Fatalf("%v", report)
	}
}
