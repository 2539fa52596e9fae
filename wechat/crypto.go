// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // prescribed by WeChat
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const (
	prefixLen = 16 // random bytes before the message
	lengthLen = 4  // big-endian length of the message
	padUnit   = 32 // PKCS #7 to 32 bytes, although the block of AES is 16
)

var aesKeyPattern = regexp.MustCompile(`^[A-Za-z0-9]{43}$`)

// signature is WeChat's: hex SHA-1 of the sorted and joined values.
// See https://developers.weixin.qq.com/doc/oplatform/developers/dev/push/index.md
func signature(values ...string) string {
	values = slices.Sorted(slices.Values(values))
	sum := sha1.Sum([]byte(strings.Join(values, ""))) //nolint:gosec // prescribed by WeChat
	return hex.EncodeToString(sum[:])
}

// equal compares in constant time. The lengths are no secret.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// messageCipher encrypts and decrypts pushes and replies of one account. Its
// CBC has a fixed IV and no MAC, so a ciphertext must pass the signature before
// it gets here: only then does it not matter how decryption fails.
// See https://developers.weixin.qq.com/doc/subscription/guide/dev/push/encryption.md
type messageCipher struct {
	block cipher.Block
	iv    []byte
	appID string
}

func newMessageCipher(aesKey, appID string) (*messageCipher, error) {
	if !aesKeyPattern.MatchString(aesKey) {
		return nil, errors.New("checking the EncodingAESKey: it must be 43 letters and digits; copy it from WeChat's console")
	}
	// Not Strict: WeChat makes keys whose last character has stray bits.
	key, err := base64.StdEncoding.DecodeString(aesKey + "=")
	if err != nil {
		return nil, errors.New("checking the EncodingAESKey: it is not base64; copy it from WeChat's console")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errors.New("checking the EncodingAESKey: it does not hold 32 bytes; copy it from WeChat's console")
	}
	return &messageCipher{block: block, iv: key[:aes.BlockSize], appID: appID}, nil
}

// decrypt returns the message inside a signed text. It fails with ErrMalformed,
// or with ErrAppID where the message is for another account.
func (c *messageCipher) decrypt(text string) ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return nil, malformed("the encrypted text is no base64 of whole blocks")
	}
	cipher.NewCBCDecrypter(c.block, c.iv).CryptBlocks(data, data)
	data, ok := unpad(data)
	if !ok || len(data) < prefixLen+lengthLen {
		return nil, malformed("the encrypted text has a wrong padding; compare the EncodingAESKey with WeChat's console")
	}
	length := int64(binary.BigEndian.Uint32(data[prefixLen:]))
	rest := data[prefixLen+lengthLen:]
	if length > int64(len(rest)) {
		return nil, malformed("the encrypted text names a length beyond its end")
	}
	if subtle.ConstantTimeCompare(rest[length:], []byte(c.appID)) != 1 {
		return nil, ErrAppID
	}
	return rest[:length], nil
}

func (c *messageCipher) encrypt(message []byte) (string, error) {
	var random [prefixLen]byte
	_, _ = rand.Read(random[:]) // never fails
	return c.seal(random, message)
}

func (c *messageCipher) seal(random [prefixLen]byte, message []byte) (string, error) {
	if len(message) > maxBody {
		return "", fmt.Errorf("encrypting a reply: it has %d bytes; shorten the text", len(message))
	}
	data := make([]byte, 0, prefixLen+lengthLen+len(message)+len(c.appID)+padUnit)
	data = append(data, random[:]...)
	data = binary.BigEndian.AppendUint32(data, uint32(len(message))) //nolint:gosec // bounded above
	data = append(data, message...)
	data = append(data, c.appID...)
	data = pad(data)
	cipher.NewCBCEncrypter(c.block, c.iv).CryptBlocks(data, data)
	return base64.StdEncoding.EncodeToString(data), nil
}

func pad(data []byte) []byte {
	n := padUnit - len(data)%padUnit
	return append(data, bytes.Repeat([]byte{byte(n)}, n)...)
}

func unpad(data []byte) ([]byte, bool) {
	n := int(data[len(data)-1])
	if n < 1 || n > padUnit || n > len(data) {
		return nil, false
	}
	body, padding := data[:len(data)-n], data[len(data)-n:]
	return body, bytes.Equal(padding, bytes.Repeat([]byte{byte(n)}, n))
}
