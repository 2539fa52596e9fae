// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	maxBody   = 1 << 20
	maxDepth  = 8
	maxFields = 256 // real bodies have below 30
)

// fields are the text values one level below the root of a body. What lies
// deeper, the lists of some events, is no part of a login and is passed over.
type fields map[string]string

// add refuses a second value: two parsers that choose differently between them
// would read two different messages.
func (f fields) add(name, value string) error {
	if _, found := f[name]; found {
		return malformed("the body has the field " + redact(fmt.Sprintf("%.32q", name)) + " twice")
	}
	if len(f) == maxFields {
		return malformed("the body has too many fields")
	}
	f[name] = value
	return nil
}

func readBody(body io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("reading a push: %w", err)
	}
	if len(data) > maxBody {
		return nil, fmt.Errorf("reading a push: %w", ErrTooLarge)
	}
	return data, nil
}

// parseBody reads XML or JSON, whichever the first character announces.
func parseBody(data []byte) (f fields, isJSON bool, err error) {
	data = bytes.TrimSpace(data)
	switch {
	case bytes.HasPrefix(data, []byte("<")):
		f, err = parseXML(data)
	case bytes.HasPrefix(data, []byte("{")):
		f, err = parseJSON(data)
		isJSON = true
	default:
		err = malformed("the body is neither XML nor JSON")
	}
	return f, isJSON, err
}

// parseXML accepts <xml> with text in it. Declarations, and with them every
// entity, are refused; so are other charsets than UTF-8 (by encoding/xml).
// Characters that XML forbids count as spaces: people send them.
func parseXML(data []byte) (fields, error) {
	p := xmlParser{dec: xml.NewDecoder(bytes.NewReader(spaceForbidden(data))), fields: fields{}}
	for {
		token, err := p.dec.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, malformed("the body is not well-formed XML")
		}
		if err := p.take(token); err != nil {
			return nil, err
		}
	}
	if len(p.open) != 0 || !p.closed {
		return nil, malformed("the XML ends too early")
	}
	return p.fields, nil
}

type xmlParser struct {
	dec    *xml.Decoder
	open   []string // names of the open elements
	text   strings.Builder
	closed bool // the root element
	fields fields
}

func (p *xmlParser) take(token xml.Token) error {
	switch t := token.(type) {
	case xml.StartElement:
		return p.start(t)
	case xml.EndElement:
		return p.end(t)
	case xml.CharData:
		return p.characters(t)
	case xml.ProcInst:
		if t.Target != "xml" || p.closed || len(p.open) != 0 {
			return malformed("the XML has a processing instruction")
		}
	case xml.Directive:
		return malformed("the XML has a DTD")
	}
	return nil
}

func (p *xmlParser) start(t xml.StartElement) error {
	if p.closed || len(p.open) == maxDepth || (len(p.open) == 0 && t.Name != xml.Name{Local: "xml"}) {
		return malformed("the XML is not one shallow <xml> element")
	}
	p.open = append(p.open, qualified(t.Name))
	if len(p.open) == 2 {
		p.text.Reset()
	}
	return nil
}

func (p *xmlParser) end(t xml.EndElement) error {
	depth := len(p.open)
	if depth == 0 || p.open[depth-1] != qualified(t.Name) {
		return malformed("the XML closes an element that is not open")
	}
	p.open = p.open[:depth-1]
	p.closed = depth == 1
	if depth == 2 {
		return p.fields.add(qualified(t.Name), p.text.String())
	}
	return nil
}

func (p *xmlParser) characters(t xml.CharData) error {
	switch {
	case len(p.open) == 2:
		p.text.Write(t)
	case len(p.open) == 0 && len(bytes.TrimSpace(t)) != 0:
		return malformed("the XML has text outside its root")
	}
	return nil
}

func qualified(name xml.Name) string {
	if name.Space == "" {
		return name.Local
	}
	return name.Space + ":" + name.Local
}

// parseJSON accepts one object. Control characters count as spaces.
func parseJSON(data []byte) (fields, error) {
	dec := json.NewDecoder(bytes.NewReader(spaceControls(data)))
	dec.UseNumber()
	f := fields{}
	if _, err := dec.Token(); err != nil { // the brace
		return nil, malformed("the body is not well-formed JSON")
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, malformed("the body is not well-formed JSON")
		}
		value, err := jsonValue(dec)
		if err != nil {
			return nil, err
		}
		if err := f.add(fmt.Sprint(name), value); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, malformed("the body is not well-formed JSON")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed("the body goes on after the JSON")
	}
	return f, nil
}

// jsonValue returns a scalar as text, and passes over an object or a list.
func jsonValue(dec *json.Decoder) (string, error) {
	for depth := 1; ; {
		token, err := dec.Token()
		if err != nil {
			return "", malformed("the body is not well-formed JSON")
		}
		if d, ok := token.(json.Delim); ok {
			if d == '{' || d == '[' {
				depth++
			} else {
				depth--
			}
		} else if depth == 1 {
			return jsonText(token), nil
		}
		if depth > maxDepth {
			return "", malformed("the JSON is nested too deeply")
		}
		if depth == 1 {
			return "", nil
		}
	}
}

func jsonText(token json.Token) string {
	if token == nil {
		return ""
	}
	return fmt.Sprint(token)
}
