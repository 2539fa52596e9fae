// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package wechat

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	// DefaultAPIURL is WeChat's server API.
	DefaultAPIURL = "https://api.weixin.qq.com"

	// callTimeout bounds a whole call of the client: waiting for other
	// processes, refreshing the access token, retrying.
	callTimeout = 5 * time.Second

	// maxAnswer bounds what is read of an answer. Real ones are below 2 KiB.
	maxAnswer = 1 << 20

	// busyPause is the wait before the one retry after "system busy" (-1).
	busyPause = 300 * time.Millisecond
)

// Config says which account a Client acts for and how it reaches WeChat.
type Config struct {
	// AppID and Secret name the account. Required.
	AppID, Secret string

	// APIURL is the base of WeChat's server API, for an egress proxy or a test.
	// Default: [DefaultAPIURL].
	APIURL string

	// OpenURL is the base of the pages on which a person signs in, to which
	// browsers are sent. Default: [DefaultOpenURL].
	OpenURL string

	// HTTPClient makes the calls. Its redirect policy is not used: WeChat's API
	// never redirects, and following would hand the secret to another host.
	// Default: a client of its own that respects the proxy environment.
	HTTPClient *http.Client

	// Cache shares the access token between processes. Default: this process's memory.
	Cache Cache

	// Now is the clock. Default: [time.Now].
	Now func() time.Time
}

// Client calls WeChat's server API for one account. It is safe for concurrent
// use. Close it when it is no longer needed.
type Client struct {
	appID  string
	secret string
	apiURL string
	http   *http.Client
	idle   func() // closes idle connections, where they are the client's own
	now    func() time.Time
	tokens *tokenSource
	qrHold hold
	mini   miniHolds

	openURL string
}

var appIDPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// NewClient returns a Client for the account that cfg names. It calls nobody:
// WeChat is first asked when a token is needed.
func NewClient(cfg Config) (*Client, error) {
	if err := checkAppID(cfg.AppID); err != nil {
		return nil, err
	}
	if err := checkSecret(cfg.Secret); err != nil {
		return nil, err
	}
	apiURL, err := parseAPIURL(cmp.Or(cfg.APIURL, DefaultAPIURL))
	if err != nil {
		return nil, err
	}
	openURL, err := parseOpenURL(cmp.Or(cfg.OpenURL, DefaultOpenURL))
	if err != nil {
		return nil, err
	}
	c := &Client{appID: cfg.AppID, secret: cfg.Secret, apiURL: apiURL, openURL: openURL, now: cfg.Now}
	c.http, c.idle = newHTTPClient(cfg.HTTPClient)
	if c.now == nil {
		c.now = time.Now
	}
	cache := cfg.Cache
	if cache == nil {
		cache = newMemoryCache(c.now)
	}
	c.tokens = newTokenSource(c.fetchToken, newTokenCache(cache, c.appID, c.now), c.now)
	return c, nil
}

// AppID returns the app id of the account.
func (c *Client) AppID() string { return c.appID }

// Close ends background refreshing, cancels a refresh under way and waits for
// it. Later calls that need a new token fail with [ErrUnavailable].
func (c *Client) Close() {
	c.tokens.close()
	c.idle()
}

// AccessToken returns a valid access token of the account. Most calls are
// answered from memory. It fails with an [Error] when WeChat refuses, with
// [ErrUnavailable] when it cannot be reached, and for a few seconds after a
// failure it fails in the same way without asking WeChat again.
//
// See https://developers.weixin.qq.com/doc/offiaccount/Basic_Information/getStableAccessToken.html
func (c *Client) AccessToken(ctx context.Context) (string, error) {
	return c.tokens.get(ctx)
}

// callWithToken posts body to an endpoint that needs an access token. Where
// WeChat rejects the token it gets another one and tries once more.
func (c *Client) callWithToken(ctx context.Context, endpoint string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.withToken(ctx, func(token string) error { return c.call(ctx, endpoint, token, body, answer) })
}

func (c *Client) withToken(ctx context.Context, call func(token string) error) error {
	token, err := c.tokens.get(ctx)
	if err != nil {
		return err
	}
	err = call(token)
	if !tokenRejected(err) {
		return err
	}
	token, err = c.tokens.replace(ctx, token, err)
	if err != nil {
		return err
	}
	return call(token)
}

// call posts body, and posts it again once if WeChat says that it is busy.
func (c *Client) call(ctx context.Context, endpoint, token string, body, answer any) error {
	return retryBusy(ctx, func() error { return c.post(ctx, endpoint, token, body, answer) })
}

func retryBusy(ctx context.Context, call func() error) error {
	err := call()
	if refusal, ok := errors.AsType[*Error](err); !ok || refusal.Code != codeBusy {
		return err
	}
	select {
	case <-ctx.Done():
		return err
	case <-time.After(busyPause):
		return call()
	}
}

// post makes one call. An empty token is not sent.
func (c *Client) post(ctx context.Context, endpoint, token string, body, answer any) error {
	target := c.apiURL + "/" + endpoint
	if token != "" {
		target += "?" + url.Values{"access_token": {token}}.Encode()
	}
	payload, err := encodeJSON(body)
	if err != nil {
		return fmt.Errorf("encoding the call of %s: %w", endpoint, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, payload)
	if err != nil {
		return unavailable(endpoint, "the API URL makes no request")
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return transportError(ctx, endpoint, err)
	}
	defer resp.Body.Close()
	return c.decode(ctx, endpoint, token, resp, answer)
}

// decode judges an answer by its body alone: WeChat sends failures with HTTP 200,
// and success without an errcode.
func (c *Client) decode(ctx context.Context, endpoint, token string, resp *http.Response, answer any) error {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return unavailable(endpoint, fmt.Sprintf("redirected with HTTP %d, which WeChat never does", resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return transportError(ctx, endpoint, err)
	}
	if len(body) > maxAnswer {
		return unavailable(endpoint, fmt.Sprintf("the answer is larger than %d bytes", maxAnswer))
	}
	if picture, ok := answer.(*pictureAnswer); ok && resp.StatusCode == http.StatusOK && picture.take(body) {
		return nil
	}
	body = spaceControls(body)
	var status struct {
		Code    looseInt `json:"errcode"`
		Message string   `json:"errmsg"`
	}
	if json.Unmarshal(body, &status) != nil {
		return unavailable(endpoint, fmt.Sprintf("the answer is not the JSON of WeChat (HTTP %d)", resp.StatusCode))
	}
	if status.Code != 0 {
		return &Error{Endpoint: endpoint, Code: int(status.Code), Message: redact(status.Message, c.secret, token)}
	}
	if json.Unmarshal(body, answer) != nil {
		return unavailable(endpoint, fmt.Sprintf("the answer has fields of another type (HTTP %d)", resp.StatusCode))
	}
	return nil
}

// encodeJSON leaves &, < and > as they are: WeChat refuses \uXXXX in some
// endpoints (40033).
func encodeJSON(v any) (*bytes.Buffer, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return &b, err
}

// looseInt is a number that some of WeChat's endpoints send as a string.
type looseInt int64

// UnmarshalJSON accepts 1, "1", "" and null.
func (n *looseInt) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if text == "" || text == "null" {
		*n = 0
		return nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	*n = looseInt(v)
	return err
}

func newHTTPClient(given *http.Client) (client *http.Client, closeIdle func()) {
	client, closeIdle = &http.Client{Timeout: callTimeout}, func() {}
	if given != nil {
		*client = *given
	} else if base, ok := http.DefaultTransport.(*http.Transport); ok {
		client.Transport = base.Clone()
		closeIdle = client.CloseIdleConnections
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client, closeIdle
}

func parseAPIURL(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("checking the API URL: it must look like https://host[:port][/path], without user, query or fragment")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func checkAppID(appID string) error {
	if !appIDPattern.MatchString(appID) {
		return errors.New("checking the app id: it must be 1 to 64 letters, digits, '-' or '_'; copy the AppID from WeChat's console")
	}
	return nil
}

func checkSecret(secret string) error {
	if secret == "" {
		return errors.New("checking the secret: it is empty; set the AppSecret of the account")
	}
	if strings.ContainsFunc(secret, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return errors.New("checking the secret: it contains a space, a line break or a control character; set the AppSecret alone")
	}
	return nil
}
