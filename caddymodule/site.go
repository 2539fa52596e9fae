// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// origins returns the origins of the site: public_url, or else what the site's
// address says.
func (h *Handler) origins(server *caddyhttp.Server) ([]string, error) {
	if h.PublicURL != "" {
		return []string{strings.TrimSuffix(h.PublicURL, "/")}, nil
	}
	if server == nil {
		return nil, errors.New("wechat_auth serves no site here: set public_url")
	}
	hosts := siteHosts(server.Routes)
	if len(hosts) == 0 {
		return nil, errors.New("the site's address names no host, so links to the site cannot be built: set public_url to the address that visitors use, like https://example.com")
	}
	port, err := listenPort(server)
	if err != nil {
		return nil, err
	}
	scheme, usual := "http", uint(80)
	if len(server.TLSConnPolicies) > 0 {
		scheme, usual = "https", 443
	}
	origins := make([]string, len(hosts))
	for i, host := range hosts {
		if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && addr.Is6() {
			host = "[" + addr.String() + "]"
		}
		if port != usual {
			host += ":" + strconv.FormatUint(uint64(port), 10)
		}
		origins[i] = scheme + "://" + host
	}
	return origins, nil
}

// siteHosts returns the plain host names of the site that is being provisioned:
// that of the one top-level route whose handlers are not loaded yet. Caddy has
// loaded those of the routes before it and all matchers by now.
func siteHosts(routes caddyhttp.RouteList) (hosts []string) {
	for _, route := range routes {
		if len(route.HandlersRaw) == 0 {
			continue
		}
		for _, set := range route.MatcherSets {
			for _, matcher := range set {
				if match, ok := matcher.(*caddyhttp.MatchHost); ok {
					hosts = append(hosts, plainHosts(*match)...)
				}
			}
		}
		return hosts
	}
	return nil
}

// plainHosts leaves out what stands for several hosts.
func plainHosts(match caddyhttp.MatchHost) (hosts []string) {
	for _, host := range match {
		if !strings.ContainsAny(host, "*{") {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func listenPort(server *caddyhttp.Server) (uint, error) {
	if len(server.Listen) == 0 {
		return 0, errors.New("the server listens nowhere: set public_url")
	}
	addr, err := caddy.ParseNetworkAddress(server.Listen[0])
	if err != nil {
		return 0, fmt.Errorf("reading the server's address: %w", err)
	}
	if addr.IsUnixNetwork() {
		return 0, errors.New("the server listens on a socket: set public_url to the address that visitors use")
	}
	return addr.StartPort, nil
}

func hostOf(origin string) string {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return origin
	}
	return u.Host
}

// originOf is the origin of a URL that has been checked.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// checkDomain says whether browsers accept a session cookie for the domain from
// the site; where they do not, signing in would never end. Sites without a name
// of their own, such as 127.0.0.1, are for trying things out.
func checkDomain(domain string, origins []string) error {
	for _, origin := range origins {
		u, err := url.Parse(origin)
		if err != nil {
			return fmt.Errorf("reading the site's address: %w", err)
		}
		host := u.Hostname()
		if domain == "" || isLocal(host) || host == domain || strings.HasSuffix(host, "."+domain) {
			continue
		}
		return fmt.Errorf("session domain %s does not cover this site, %s: browsers would refuse its cookie; use a domain that the site is in, or none", domain, host)
	}
	return nil
}

// isLocal says whether a host is an address or this machine, rather than a name
// that others know.
func isLocal(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost"
}

// warnPlainHTTP tells the operator that everybody on the way can read the cookies.
func warnPlainHTTP(log *zap.Logger, origins []string) {
	for _, origin := range origins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" || u.Hostname() == "localhost" {
			continue
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil && addr.IsLoopback() {
			continue
		}
		log.Warn("the site is served without TLS, so anybody on the way can take over its sessions; where TLS ends before Caddy, set public_url to the https address",
			zap.String("site", origin))
	}
}
