package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCosignatures(t *testing.T) {
	s := newSample(t, 300)
	public, secret, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := append([]byte{algCosignature}, public...)
	name := "witness.example/one"
	vkey := fmt.Sprintf("%s+%08x+%s", name, keyHash(name, key), base64.StdEncoding.EncodeToString(key))
	signed := s.checkpoint(t, 200)
	text := string(signed[:strings.Index(string(signed), "\n\n")+1])
	at := binary.BigEndian.AppendUint64(nil, 1_790_000_000)
	signature := ed25519.Sign(secret, []byte("cosignature/v1\ntime 1790000000\n"+text))
	line := binary.BigEndian.AppendUint32(nil, keyHash(name, key))
	line = append(append(line, at...), signature...)
	cosigned := string(signed) + "\u2014 " + name + " " + base64.StdEncoding.EncodeToString(line) + "\n"
	path := filepath.Join(s.dir, "checkpoint.witnessed")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check := func() error {
		_, err := run([]string{"tiles", "--vkey", s.vkey, "--witness", vkey, s.dir})
		return err
	}
	if err := check(); err == nil {
		t.Fatal("accepted without a cosigned checkpoint")
	}
	write(cosigned)
	if err := check(); err != nil {
		t.Fatal(err)
	}
	write(string(signed))
	if err := check(); err == nil {
		t.Fatal("accepted without the cosignature")
	}
	write(strings.Replace(cosigned, base64.StdEncoding.EncodeToString(line), base64.StdEncoding.EncodeToString(append(line[:12:12], make([]byte, 64)...)), 1))
	if err := check(); err == nil {
		t.Fatal("accepted another signature")
	}
}
