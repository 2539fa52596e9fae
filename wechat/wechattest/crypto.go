// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechattest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // WeChat's protocol prescribes SHA-1
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// padBlock is WeChat's PKCS #7 block, twice that of AES.
const padBlock = 32

// signature is the hex SHA-1 of the sorted values, without separators. It has
// three values (token, timestamp, nonce), or four with the ciphertext.
func signature(values ...string) string {
	slices.Sort(values)
	sum := sha1.Sum([]byte(strings.Join(values, ""))) //nolint:gosec // WeChat's protocol prescribes SHA-1
	return hex.EncodeToString(sum[:])
}

// decodeAESKey reads an EncodingAESKey. Its last character has bits that
// belong to no byte and are mostly not zero: a strict decoder refuses them.
func decodeAESKey(encoded string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(encoded + "=")
	if err != nil || len(key) != 32 {
		return nil, errors.New("decoding the AES key: it must be 43 characters of base64")
	}
	return key, nil
}

// envelope is the plaintext of an encrypted message, before padding.
func envelope(random, msg []byte, appID string) []byte {
	b := slices.Clone(random)
	b = binary.BigEndian.AppendUint32(b, uint32(len(msg))) //nolint:gosec // no message is near 4 GiB
	b = append(b, msg...)
	return append(b, appID...)
}

func pad(b []byte) []byte {
	n := padBlock - len(b)%padBlock
	return append(b, bytes.Repeat([]byte{byte(n)}, n)...)
}

// encryptCBC encrypts whole blocks, the first 16 bytes of the key being the IV.
func encryptCBC(key, padded []byte) (string, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", fmt.Errorf("encrypting a push: %w", err)
	}
	out := make([]byte, len(padded))
	cipher.NewCBCEncrypter(block, key[:aes.BlockSize]).CryptBlocks(out, padded)
	return base64.StdEncoding.EncodeToString(out), nil
}

// encrypt returns the Encrypt value of a message.
func encrypt(aesKey string, msg []byte, appID string) (string, error) {
	key, err := decodeAESKey(aesKey)
	if err != nil {
		return "", err
	}
	return encryptCBC(key, pad(envelope(randomBytes(16), msg, appID)))
}

// decrypt opens an Encrypt value that must be meant for appID.
func decrypt(aesKey, encrypted, appID string) ([]byte, error) {
	key, err := decodeAESKey(aesKey)
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(encrypted)
	if err != nil {
		return nil, fmt.Errorf("decoding Encrypt: %w", err)
	}
	if len(b) == 0 || len(b)%aes.BlockSize != 0 {
		return nil, errors.New("decrypting: the ciphertext is not a number of whole blocks")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("decrypting: %w", err)
	}
	cipher.NewCBCDecrypter(block, key[:aes.BlockSize]).CryptBlocks(b, b)
	return open(b, appID)
}

// open takes random bytes, length, message and app id apart.
func open(b []byte, appID string) ([]byte, error) {
	n := int(b[len(b)-1])
	if n < 1 || n > padBlock || n > len(b) || bytes.Count(b[len(b)-n:], b[len(b)-1:]) != n {
		return nil, errors.New("decrypting: bad padding")
	}
	b = b[:len(b)-n]
	const head = 16 + 4
	if len(b) < head {
		return nil, errors.New("decrypting: the message is too short")
	}
	size := uint64(binary.BigEndian.Uint32(b[16:head]))
	b = b[head:]
	if size > uint64(len(b)) {
		return nil, errors.New("decrypting: the message is shorter than its length says")
	}
	if subtle.ConstantTimeCompare(b[size:], []byte(appID)) != 1 {
		return nil, errors.New("decrypting: the message ends with another app id")
	}
	return b[:size], nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func randomHex(n int) string { return hex.EncodeToString(randomBytes(n)) }

// randomString returns n characters of A-Z, a-z, 0-9, "-" and "_".
func randomString(n int) string {
	return base64.RawURLEncoding.EncodeToString(randomBytes(n))[:n]
}

// randomDigits returns a decimal number of exactly n digits.
func randomDigits(n int) string {
	low := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n-1)), nil)
	span := new(big.Int).Mul(low, big.NewInt(9))
	v, _ := rand.Int(rand.Reader, span) // never fails
	return v.Add(v, low).String()
}
