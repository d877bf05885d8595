package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// emptyRoot is SHA-256 of nothing, the root of the empty tree (RFC 6962 §2.1).
// tlog.TreeHash gives the zero hash there.
var emptyRoot = tlog.Hash{
	0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
	0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
}

// folder reads a log in the C2SP tlog-tiles layout. It implements
// tlog.TileReader.
type folder struct{ root string }

// name gives a tile's path. It is x/mod's path without the height and with
// C2SP's word for entry bundles.
func name(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight))
	return filepath.Join("tile", strings.Replace(path, "data/", "entries/", 1))
}

// read returns the bytes of a partial tile or, when the log has dropped it in
// favour of the full one, those of the full one.
func (f folder) read(tile tlog.Tile) (data []byte, full bool, err error) {
	data, err = os.ReadFile(filepath.Join(f.root, name(tile)))
	if err == nil || tile.W == tileWidth || !errors.Is(err, fs.ErrNotExist) {
		return data, tile.W == tileWidth, err
	}
	tile.W = tileWidth
	if data, fullErr := os.ReadFile(filepath.Join(f.root, name(tile))); fullErr == nil {
		return data, true, nil
	}
	return nil, false, err
}

// hashes returns exactly tile.W hashes.
func (f folder) hashes(tile tlog.Tile) ([]byte, error) {
	first := tile.N * tileWidth << (tileHeight * tile.L)
	data, full, err := f.read(tile)
	if err != nil {
		return nil, findingAt(first, "tile %s: %v", name(tile), err)
	}
	want := tile.W * tlog.HashSize
	if len(data) < want || (!full && len(data) != want) || (full && len(data) != tileWidth*tlog.HashSize) {
		return nil, findingAt(first+int64(len(data)/tlog.HashSize)<<(tileHeight*tile.L),
			"tile %s has %d bytes, %d are needed", name(tile), len(data), want)
	}
	return data[:want], nil
}

func (f folder) Height() int { return tileHeight }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	all := make([][]byte, len(tiles))
	for i, tile := range tiles {
		data, err := f.hashes(tile)
		if err != nil {
			return nil, err
		}
		all[i] = data
	}
	return all, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

// entries cuts a bundle of big-endian uint16 length-prefixed entries. It
// returns what it could read together with the finding, so that a changed
// entry before a torn end is named first.
func (f folder) entries(bundle int64, width int) ([][]byte, error) {
	tile := tlog.Tile{H: tileHeight, L: -1, N: bundle, W: width}
	first := bundle * tileWidth
	data, _, err := f.read(tile)
	if err != nil {
		return nil, findingAt(first, "entry bundle %s: %v", name(tile), err)
	}
	var all [][]byte
	for len(data) > 0 && len(all) < tileWidth {
		position := first + int64(len(all))
		if len(data) < 2 {
			return all, findingAt(position, "entry bundle %s ends within a length", name(tile))
		}
		length := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+length {
			return all, findingAt(position, "entry bundle %s ends within entry %d", name(tile), position)
		}
		all = append(all, data[2:2+length])
		data = data[2+length:]
	}
	if len(all) < width {
		return all, findingAt(first+int64(len(all)), "entry bundle %s holds %d entries, %d are needed", name(tile), len(all), width)
	}
	if len(data) > 0 {
		return all, findingAt(first+tileWidth, "entry bundle %s has bytes after its last entry", name(tile))
	}
	return all[:width], nil
}

// widthAt is how many children tile n of a level has in a tree of that many
// hashes at that level.
func widthAt(n, hashes int64) int { return int(min(tileWidth, hashes-n*tileWidth)) }

// checkEntries compares every entry with its hash in the lowest tiles and
// returns all leaf hashes.
func (f folder) checkEntries(size int64) ([]tlog.Hash, error) {
	leaves := make([]tlog.Hash, 0, size)
	for n := int64(0); n*tileWidth < size; n++ {
		width := widthAt(n, size)
		entries, torn := f.entries(n, width)
		tile, err := f.hashes(tlog.Tile{H: tileHeight, L: 0, N: n, W: width})
		if err != nil {
			return nil, err
		}
		for i, entry := range entries {
			position := n*tileWidth + int64(i)
			hash := tlog.RecordHash(entry)
			if hash != tlog.Hash(tile[i*tlog.HashSize:(i+1)*tlog.HashSize]) {
				return nil, findingAt(position, "entry %d does not have the hash the tile names", position)
			}
			leaves = append(leaves, hash)
		}
		if torn != nil {
			return nil, torn
		}
	}
	return leaves, nil
}

// checkLevels recomputes every full tile's hash and compares it with the tile
// above, so that a forged leaf hash is named, not only suspected.
func (f folder) checkLevels(leaves []tlog.Hash) error {
	below := leaves
	for level := 1; len(below) >= tileWidth; level++ {
		above := make([]tlog.Hash, 0, len(below)/tileWidth)
		for n := 0; (n+1)*tileWidth <= len(below); n++ {
			above = append(above, perfectHash(below[n*tileWidth:(n+1)*tileWidth]))
		}
		span := int64(1) << (tileHeight * level)
		for n := int64(0); n*tileWidth < int64(len(above)); n++ {
			width := widthAt(n, int64(len(above)))
			tile, err := f.hashes(tlog.Tile{H: tileHeight, L: level, N: n, W: width})
			if err != nil {
				return err
			}
			for i := range width {
				at := n*tileWidth + int64(i)
				if above[at] != tlog.Hash(tile[i*tlog.HashSize:(i+1)*tlog.HashSize]) {
					return findingAt(at*span, "entries %d to %d do not have the hash that level %d names", at*span, (at+1)*span-1, level)
				}
			}
		}
		below = above
	}
	return nil
}

// perfectHash is the hash of a perfect subtree over these hashes.
func perfectHash(hashes []tlog.Hash) tlog.Hash {
	row := append([]tlog.Hash(nil), hashes...)
	for len(row) > 1 {
		for i := range len(row) / 2 {
			row[i] = tlog.NodeHash(row[2*i], row[2*i+1])
		}
		row = row[:len(row)/2]
	}
	return row[0]
}

// stored lays the leaf hashes out as tlog stores them.
func stored(leaves []tlog.Hash) (tlog.HashReader, error) {
	all := make([]tlog.Hash, 0, tlog.StoredHashCount(int64(len(leaves))))
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			if index >= int64(len(all)) {
				return nil, fmt.Errorf("hash %d is beyond the log", index)
			}
			found[i] = all[index]
		}
		return found, nil
	})
	for n, leaf := range leaves {
		hashes, err := tlog.StoredHashesForRecordHash(int64(n), leaf, reader)
		if err != nil {
			return nil, err
		}
		all = append(all, hashes...)
	}
	return reader, nil
}

func treeHash(size int64, reader tlog.HashReader) (tlog.Hash, error) {
	if size == 0 {
		return emptyRoot, nil
	}
	return tlog.TreeHash(size, reader)
}

// checkInclusion has tlog authenticate the tiles against the signed root and
// compares every leaf with what it then reads, and proves the first, middle
// and last entry of each bundle by an explicit inclusion proof.
func (f folder) checkInclusion(tree tlog.Tree, leaves []tlog.Hash) (proofs int, err error) {
	reader := tlog.TileHashReader(tree, f)
	for first := int64(0); first < tree.N; first += tileWidth {
		last := min(first+tileWidth, tree.N) - 1
		indexes := make([]int64, 0, tileWidth)
		for n := first; n <= last; n++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, n))
		}
		hashes, err := reader.ReadHashes(indexes)
		if err != nil {
			return proofs, located(first, "entries %d to %d are not under the signed root: %v", first, last, err)
		}
		for i, hash := range hashes {
			if position := first + int64(i); hash != leaves[position] {
				return proofs, findingAt(position, "entry %d is not under the signed root", position)
			}
		}
		for _, n := range []int64{first, (first + last) / 2, last} {
			proof, err := tlog.ProveRecord(tree.N, n, reader)
			if err != nil {
				return proofs, located(n, "entry %d cannot be proved: %v", n, err)
			}
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, n, leaves[n]); err != nil {
				return proofs, findingAt(n, "entry %d: inclusion proof: %v", n, err)
			}
			proofs++
		}
	}
	return proofs, nil
}

// located keeps a finding's own position when there is one.
func located(position int64, format string, args ...any) error {
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			var found *finding
			if errors.As(err, &found) {
				return found
			}
		}
	}
	return findingAt(position, format, args...)
}

// checkConsistency proves that the tree extends an older one.
func checkConsistency(tree, older tlog.Tree, reader tlog.HashReader) error {
	switch {
	case older.N > tree.N:
		return findingAt(tree.N, "the log has %d entries, an earlier checkpoint had %d", tree.N, older.N)
	case older.N == 0:
		if older.Hash != emptyRoot {
			return findingAt(0, "the earlier checkpoint of an empty log has a wrong root")
		}
		return nil
	}
	proof, err := tlog.ProveTree(tree.N, older.N, reader)
	if err != nil {
		return located(older.N, "no consistency proof from %d to %d: %v", older.N, tree.N, err)
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, older.N, older.Hash); err != nil {
		return findingAt(older.N, "the log does not extend its first %d entries: %v", older.N, err)
	}
	return nil
}

func checkTiles(root string, key note.Verifier, known, from []string) (map[string]any, error) {
	log := folder{root: root}
	latest, err := readCheckpoint(filepath.Join(root, "checkpoint"), key)
	if err != nil {
		return nil, err
	}
	leaves, err := log.checkEntries(latest.tree.N)
	if err != nil {
		return nil, err
	}
	if err := log.checkLevels(leaves); err != nil {
		return nil, err
	}
	rebuilt, err := stored(leaves)
	if err != nil {
		return nil, err
	}
	hash, err := treeHash(latest.tree.N, rebuilt)
	if err != nil {
		return nil, err
	}
	olds, err := olderTrees(known, from, key, rebuilt, latest.tree.N)
	if err != nil {
		return nil, err
	}
	if hash != latest.tree.Hash {
		return nil, rewritten(latest.tree, hash, olds, rebuilt)
	}
	proofs, err := log.checkInclusion(latest.tree, leaves)
	if err != nil {
		return nil, err
	}
	for _, older := range olds {
		if err := checkConsistency(latest.tree, older, tlog.TileHashReader(latest.tree, log)); err != nil {
			return nil, err
		}
	}
	return map[string]any{
		"origin": latest.origin, "size": latest.tree.N, "root": latest.tree.Hash.String(),
		"entries": len(leaves), "inclusion_proofs": proofs, "consistency_proofs": len(olds),
	}, nil
}

// rewritten says how far a log is still the signed one when entries and all
// tiles agree with each other but not with the checkpoint: only earlier
// checkpoints can narrow the place down.
func rewritten(signed tlog.Tree, hash tlog.Hash, olds []tlog.Tree, rebuilt tlog.HashReader) error {
	low, high := int64(0), signed.N
	for _, old := range olds {
		if old.N > signed.N {
			continue
		}
		here, err := treeHash(old.N, rebuilt)
		if err != nil {
			return err
		}
		if here == old.Hash {
			low = max(low, old.N)
		} else {
			high = min(high, old.N)
		}
	}
	return findingAt(low, "the root over all entries is %v, the checkpoint signs %v; the first difference is in entries %d to %d",
		hash, signed.Hash, low, high-1)
}

// olderTrees reads the earlier checkpoints; for a bare size it recomputes the
// root from the entries.
func olderTrees(known, from []string, key note.Verifier, rebuilt tlog.HashReader, size int64) ([]tlog.Tree, error) {
	var olds []tlog.Tree
	for _, path := range known {
		older, err := readCheckpoint(path, key)
		if err != nil {
			return nil, err
		}
		olds = append(olds, older.tree)
	}
	for _, text := range from {
		old, err := strconv.ParseInt(text, 10, 64)
		if err != nil || old < 0 || old > size {
			return nil, fmt.Errorf("--from `%s` is not a size up to %d", text, size)
		}
		hash, err := treeHash(old, rebuilt)
		if err != nil {
			return nil, err
		}
		olds = append(olds, tlog.Tree{N: old, Hash: hash})
	}
	return olds, nil
}
