// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Command demo shows WeChat login in front of a site, with nothing to install or
// to register: one process is the gateway, the app behind it, WeChat's servers
// and a phone.
//
//	go run ./cmd/demo
//
// It listens on 127.0.0.1, ports 8080 (site), 8081 (WeChat and the phone), 8082
// (app) and 8083 (the site as WeChat's browser sees it), or on the next ports that
// are free.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/caddy-wechat/caddy-wechat/login"
)

// firstPort is where the search for free ports begins.
const firstPort = 8080

// maxPort is the last port there is.
const maxPort = 65535

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	o, err := parseFlags(os.Args[1:], os.Stderr)
	if err == nil {
		err = run(ctx, o, os.Stdout)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	address netip.Addr // of the site and of the phone
	port    int        // the first to try; 0: any
	confirm login.Confirm
	// team asks an admin to let each person in.
	team    bool
	verbose bool
}

func parseFlags(args []string, usage io.Writer) (options, error) {
	o := options{address: netip.AddrFrom4([4]byte{127, 0, 0, 1}), confirm: login.ConfirmNumber}
	flags := flag.NewFlagSet("demo", flag.ExitOnError)
	flags.SetOutput(usage)
	flags.IntVar(&o.port, "port", firstPort, "the first `port` to try")
	flags.BoolVar(&o.team, "team", false, "let people in one by one, as "+adminName+" on the admin page")
	flags.BoolVar(&o.verbose, "v", false, "print the gateway's log")
	flags.Func("lan", "this machine's `address` on the local network, such as 192.168.1.5, to scan with a real phone's camera", func(s string) (err error) {
		o.address, err = netip.ParseAddr(s)
		if err == nil && o.address.IsUnspecified() {
			err = fmt.Errorf("%s is every address: name the one that the phone can reach", s)
		}
		return err
	})
	flags.Func("confirm", "what the phone asks after a scan: `number`, tap or off (default number)", func(s string) error {
		o.confirm = login.Confirm(s)
		switch o.confirm {
		case login.ConfirmNumber, login.ConfirmTap, login.ConfirmOff:
			return nil
		default:
			return fmt.Errorf("use number, tap or off")
		}
	})
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.port < 0 || o.port > maxPort {
		return o, fmt.Errorf("-port %d is no port: use 1 to %d, or 0 for any", o.port, maxPort)
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag: see -help", flags.Arg(0))
	}
	return o, nil
}

// run shows the demo until ctx ends.
func run(ctx context.Context, o options, out io.Writer) error {
	d, err := start(o) //nolint:contextcheck // what runs ends by stop, after ctx has ended
	if err != nil {
		return err
	}
	fmt.Fprint(out, d.instructions(o))
	<-ctx.Done()
	return d.stop() //nolint:contextcheck // ctx has ended
}

// instructions say what to do, step by step.
func (d *demo) instructions(o options) string {
	phone, notes := "Open the phone  "+d.phoneURL+"  (in a second window)", leftOut(o)
	if !o.address.IsLoopback() {
		phone = "Take a phone in this network, or open a simulated one:  " + d.phoneURL
		notes += "\nWhoever reaches this address can sign in as anybody: it is a demo.\n"
	}
	return fmt.Sprintf(`A site behind WeChat login, a simulated WeChat, and a phone.

  1. Open the site   %s
  2. %s
  3. Choose a tab of the site, and on the phone:

%s
The app behind the site then greets you from its X-User-* headers. Sign out there and
try the next: wherever WeChat gives a unionid, you are the same user. Ctrl-C ends the demo.
%s`, d.siteURL, phone, strings.Join(steps(o), ""), d.teamwork(o)+notes)
}

// teamwork says what a team can try.
func (d *demo) teamwork(o options) string {
	if !o.team {
		return ""
	}
	return fmt.Sprintf(`
Only %[1]s may enter, as an admin. Sign in as %[1]s, whose the phone is at first, and open

     %[2]s_wechat/admin

Then sign in as somebody else: in a private window, or another browser, and with the phone
as alice (the tab 我 Me). She waits, until you approve her on the admin page: her window
opens by itself. Where you are signed in yourself:  %[2]s_wechat/sessions
`, adminName, d.siteURL)
}

// steps say for each method what to do on the phone.
func steps(o options) []string {
	here := o.address.IsLoopback()
	scan, answer := "扫一扫 Scan → 扫码 Scan, the first code", " → the number that the site shows"
	if !here {
		scan = "its camera (not WeChat) → the code → the page that opens"
	}
	if o.confirm != login.ConfirmNumber {
		answer = " → confirm"
	}
	link := " → the link in the chat → 允许 Allow" + answer
	if o.confirm == login.ConfirmOff {
		link = " (that alone signs in)"
	}
	name := ""
	if o.team {
		name = " (the site asks for a name where the phone has given none)"
	}
	all := []string{
		step("Scan", scan+link),
		step("Mini program", scan+answer+name),
	}
	if here {
		all = append(all, step("WeChat page", scan+" → 允许 Allow"))
	}
	if hasChatCode(o) {
		all = append(all, step("Chat code", "the chat → 关注 Follow → send the six digits"+link))
	}
	if here {
		all = append(all, step("(no tab)", "在微信中打开 Open in WeChat → 使用微信授权登录 Authorize in WeChat → 允许 Allow"))
	}
	return all
}

// leftOut says which ways to sign in this demo does not have, and why.
func leftOut(o options) string {
	var text string
	if !o.address.IsLoopback() {
		text += "\nWeChat's own pages are left out: the login page leads to them by https, or on one machine.\n"
	}
	if !hasChatCode(o) {
		text += "\nThe code in the chat is left out: it cannot be had without a confirmation.\n"
	}
	return text
}

func step(tab, what string) string { return fmt.Sprintf("     %-14s %s\n", tab, what) }
