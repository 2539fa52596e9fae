// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

import "time"

// beijing is the time zone of the pages: a server does not know its visitor's.
var beijing = time.FixedZone("UTC+8", 8*60*60)

// clock is a time on a page. Scripts put the browser's own in place of Text and Zone.
type clock struct{ At, Text, Zone string }

// Clock returns how a time is shown, to the minute.
func (v *view) Clock(t time.Time) clock { return v.clock(t, "2006-01-02 15:04") }

// ClockSeconds returns how a time is shown, to the second.
func (v *view) ClockSeconds(t time.Time) clock { return v.clock(t, time.DateTime) }

func (v *view) clock(t time.Time, layout string) clock {
	t = t.In(beijing)
	return clock{At: t.Format(time.RFC3339), Text: t.Format(layout), Zone: v.T.Zone}
}
