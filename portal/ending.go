// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package portal

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/caddy-wechat/caddy-wechat/login"
	"github.com/caddy-wechat/caddy-wechat/portal/page"
)

// failedPath is where, below the portal, a callback leads that signs nobody in.
const failedPath = "/oauth/failed/"

// ending is why the way to WeChat and back has ended without what it was for, as
// the address of the page that says so names it.
type ending string

const (
	endMalformed    ending = "malformed"     // WeChat leads back like this to nobody
	endOtherBrowser ending = "other-browser" // begun in another browser, or too long ago
	endLinkUnknown  ending = "link-unknown"  // the same, of a link in the chat
	endRefused      ending = "refused"       // by the person
	endVirtual      ending = "virtual-user"  // WeChat names a visitor who is no account
	endExchange     ending = "exchange"      // WeChat does not take the code that it has given
	endOver         ending = "over"          // the attempt has ended before
	endDisabled     ending = "disabled"      // WeChat names a person who may not enter
	endNotAdmitted  ending = "not-admitted"
	endNotScanner   ending = "not-scanner" // whoever opened the link is not who scanned
	endSignedOut    ending = "signed-out"  // the person has signed out everywhere in the meantime
	endUnavailable  ending = "unavailable" // the store cannot be asked
)

// endings are the pages; there are no others.
var endings = map[ending]struct {
	status int
	notice page.NoticeKind
}{
	endMalformed:    {http.StatusBadRequest, page.AuthFailed},
	endOtherBrowser: {http.StatusNotFound, page.OtherBrowser},
	endLinkUnknown:  {http.StatusNotFound, page.LinkUnknown},
	endRefused:      {http.StatusForbidden, page.AuthRefused},
	endVirtual:      {http.StatusForbidden, page.VirtualUser},
	endExchange:     {http.StatusBadGateway, page.AuthFailed},
	endOver:         {http.StatusGone, page.AuthFailed},
	endDisabled:     {http.StatusForbidden, page.Disabled},
	endNotAdmitted:  {http.StatusForbidden, page.NotAdmitted},
	endNotScanner:   {http.StatusForbidden, page.NotScanner},
	endSignedOut:    {http.StatusGone, page.SignedOut},
	endUnavailable:  {http.StatusServiceUnavailable, page.AuthOutage},
}

// end leads the browser from the callback to the page that says why nobody is
// signed in: whoever is shown or given the callback's address, with a code in it
// that may still be good, could use that. returnTo is where the attempt was to
// lead; it is empty where this browser is not to know.
func (p *Portal) end(w http.ResponseWriter, r *http.Request, why ending, returnTo string) {
	target := p.Prefix + failedPath + string(why)
	if returnTo != "" && returnTo != "/" {
		target += "?return_to=" + url.QueryEscape(p.linkPath(returnTo))
	}
	seeOther(w, r, target)
}

// oauthFailed is GET oauth/failed/{reason}.
func (p *Portal) oauthFailed(w http.ResponseWriter, r *http.Request) {
	why := ending(r.PathValue("reason"))
	shown, known := endings[why]
	if !known {
		p.pages.Notice(w, r, http.StatusNotFound, page.NotFound)
		return
	}
	if why == endUnavailable {
		setRetryAfter(w, retryOutage)
	}
	p.pages.Failed(w, r, shown.status, shown.notice, p.linkPath(r.URL.Query().Get("return_to")))
}

// endUnknown ends the way to WeChat of a browser for which no attempt or link is
// found, or where that cannot be known.
func (p *Portal) endUnknown(w http.ResponseWriter, r *http.Request, unknown ending, err error) {
	if errors.Is(err, login.ErrNotFound) {
		p.end(w, r, unknown, "")
		return
	}
	p.endOutage(w, r, err, "")
}

// endOutage ends it while the store is away.
func (p *Portal) endOutage(w http.ResponseWriter, r *http.Request, err error, returnTo string) {
	p.warnOutage(r, err)
	p.end(w, r, endUnavailable, returnTo)
}

// seeOther sends the browser on to an address of the site.
func seeOther(w http.ResponseWriter, r *http.Request, target string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, target, http.StatusSeeOther)
}
