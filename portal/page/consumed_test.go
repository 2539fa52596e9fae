// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The server announces that the attempt is consumed before it has written the
// session, and so before it answers the page's own request. The page must wait for
// that answer: it once took the news for another browser's doing, hung up, and left
// its visitor with a used code and no session.
func TestLoginPage_ConsumedBeforeTheAnswer(t *testing.T) {
	b := newBackend(t)
	contract := b.Config.Handler
	b.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/session") {
			b.set("consumed", "")
			select {
			case <-r.Context().Done(): // the page has hung up: there will be no session
				return
			case <-time.After(500 * time.Millisecond): // a slow disk
			}
		}
		contract.ServeHTTP(w, r)
	})
	page := visit(t, b, "/", 1)
	page.Sees(heading("pending"))
	b.set("confirmed", "")
	page.Sees("Inside")
}
