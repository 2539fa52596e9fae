// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package page

// sessionsTexts is what a person's own page says.
type sessionsTexts struct {
	Title          string // followed by the site's
	Link           string // leads to the page
	Nameless       string
	Rename         string
	Bind           string
	UnknownBrowser string
	InWeChat       string // how somebody has signed in there
	Current        string
	Begun          string
	Seen           string
	End            string
	EndThis        string
	EndOthers      string

	Done map[string]string // by what has been done
}

// adminTexts is what the operators' page says.
type adminTexts struct {
	Title    string // followed by the site's
	Link     string // leads to the page
	Waiting  string
	AllThose string // leads to all who wait
	Search   string
	SearchBy string // what can be searched for
	Status   string
	Any      string
	People   string
	Nobody   string
	Next     string
	First    string
	Back     string // to the list

	Name       string
	ID         string
	Roles      string
	RolesHint  string
	RuleRoles  string
	Address    string
	Identities string
	Created    string
	Seen       string
	Never      string
	Sessions   string
	NoSessions string
	Self       string
	Before     string
	After      string
	None       string

	NowIn    string // follows the question where the person may enter this site then
	StillOut string // followed by why the person may not enter this site then

	Cancel    string
	Statuses  map[string]string  // by the status
	Missing   map[string]string  // why somebody who is no longer to be approved may not enter yet
	Actions   map[string]string  // on buttons, by the action
	Questions map[string]message // by the action

	Done    map[string]string // by what has been done
	Refused map[string]string // by why nothing has been done
}

var englishSessions = sessionsTexts{
	Title:          "Your sign-ins to",
	Link:           "Your sign-ins and details",
	Nameless:       "No name yet",
	Rename:         "Change name",
	Bind:           "E-mail and phone",
	UnknownBrowser: "Unknown browser",
	InWeChat:       "Inside WeChat",
	Current:        "This browser",
	Begun:          "Signed in",
	Seen:           "Last used",
	End:            "Sign it out",
	EndThis:        "Sign out here",
	EndOthers:      "Sign out all others",
	Done: map[string]string{
		"ended":  "That browser is signed out.",
		"others": "All other browsers are signed out.",
		"gone":   "That browser was signed out already.",
	},
}

var chineseSessions = sessionsTexts{
	Title:          "登录记录",
	Link:           "登录记录与个人信息",
	Nameless:       "尚未填写显示名",
	Rename:         "修改显示名",
	Bind:           "邮箱与手机",
	UnknownBrowser: "未知浏览器",
	InWeChat:       "在微信内",
	Current:        "当前浏览器",
	Begun:          "登录于",
	Seen:           "最近使用",
	End:            "退出该浏览器",
	EndThis:        "在此退出登录",
	EndOthers:      "退出其他所有浏览器",
	Done: map[string]string{
		"ended":  "该浏览器已退出登录。",
		"others": "其他浏览器均已退出登录。",
		"gone":   "该浏览器此前已退出登录。",
	},
}

var englishAdmin = adminTexts{
	Title:      "People at",
	Link:       "Manage people",
	Waiting:    "Waiting for approval",
	AllThose:   "Show all",
	Search:     "Search",
	SearchBy:   "Name, e-mail, phone, id or openid",
	Status:     "Status",
	Any:        "Any",
	People:     "People",
	Nobody:     "Nobody found.",
	Next:       "Next page",
	First:      "First page",
	Back:       "Back to all people",
	Name:       "Name",
	ID:         "ID",
	Roles:      "Roles",
	RolesHint:  "Separated by commas. A–Z, a–z, digits and - _ . : / are allowed.",
	RuleRoles:  "From the configuration, not to be changed here:",
	Address:    "E-mail and phone",
	Identities: "WeChat identities",
	Created:    "Since",
	Seen:       "Last sign-in",
	Never:      "Never",
	Sessions:   "Signed-in browsers",
	NoSessions: "None.",
	Self:       "This is you: you cannot disable, delete or demote yourself.",
	Before:     "Before",
	After:      "After",
	None:       "None",
	NowIn:      "The person may enter this site at once.",
	StillOut:   "The person cannot enter this site yet:",
	Cancel:     "Cancel",
	Statuses:   map[string]string{"active": "Active", "pending": "Waiting", "disabled": "Disabled", "ruled": "Let in by the configuration"},
	Missing: map[string]string{
		"registration_closed": "Registration is closed",
		"email_missing":       "E-mail not proven yet",
		"phone_missing":       "Phone not proven yet",
		"name_missing":        "No name yet",
		"role_missing":        "No role for this site",
	},
	Actions: map[string]string{
		"approve": "Approve", "enable": "Enable", "disable": "Disable", "roles": "Change roles", "delete": "Delete",
		"end_session": "Sign it out", "end_sessions": "Sign out everywhere",
	},
	Questions: map[string]message{
		"approve":      {"Approve this person?", "The approval is for every site that uses the same users."},
		"enable":       {"Enable this person?", "The person may sign in again."},
		"disable":      {"Disable this person?", "The person is signed out everywhere at once and cannot sign in again until enabled."},
		"roles":        {"Change the roles of this person?", "The change is in force at once; open connections are closed."},
		"delete":       {"Delete this person?", "All that is known of the person is deleted, and every session ends. It cannot be undone. Whoever is to stay out should be disabled instead: a deleted person can register again."},
		"end_session":  {"Sign out this browser?", "The person can sign in there again."},
		"end_sessions": {"Sign out this person everywhere?", "All sessions end at once. The person can sign in again."},
	},
	Done: map[string]string{
		"approve": "Approved.", "enable": "Enabled.", "disable": "Disabled and signed out everywhere.", "roles": "The roles are changed.",
		"delete": "Deleted.", "end_session": "That browser is signed out.", "end_sessions": "Signed out everywhere.",
	},
	Refused: map[string]string{
		"changed":    "Nothing was done: somebody else has changed this person in the meantime. This is how it is now.",
		"gone":       "Nothing was done: that person has been deleted in the meantime.",
		"no_session": "Nothing was done: that session has ended already.",
		"self":       "Nothing was done: you cannot disable, delete or demote yourself. Ask another operator.",
		"bad_roles":  "Nothing was done: a role is up to 64 of A–Z, a–z, digits and - _ . : /, and a person has at most 32.",
	},
}

var chineseAdmin = adminTexts{
	Title:      "用户管理",
	Link:       "用户管理",
	Waiting:    "待审核",
	AllThose:   "查看全部",
	Search:     "搜索",
	SearchBy:   "显示名、邮箱、手机、编号或 openid",
	Status:     "状态",
	Any:        "全部",
	People:     "用户",
	Nobody:     "没有找到用户。",
	Next:       "下一页",
	First:      "第一页",
	Back:       "返回用户列表",
	Name:       "显示名",
	ID:         "编号",
	Roles:      "角色",
	RolesHint:  "用逗号分隔，可使用 A–Z、a–z、数字和 - _ . : /",
	RuleRoles:  "来自配置文件，不能在此修改：",
	Address:    "邮箱与手机",
	Identities: "微信身份",
	Created:    "注册于",
	Seen:       "最近登录",
	Never:      "从未",
	Sessions:   "已登录的浏览器",
	NoSessions: "无。",
	Self:       "这是你自己：不能停用、删除自己，也不能取消自己的管理角色。",
	Before:     "修改前",
	After:      "修改后",
	None:       "无",
	NowIn:      "此用户将立即可以进入本网站。",
	StillOut:   "此用户仍不能进入本网站：",
	Cancel:     "取消",
	Statuses:   map[string]string{"active": "正常", "pending": "待审核", "disabled": "已停用", "ruled": "由配置文件准入"},
	Missing: map[string]string{
		"registration_closed": "未开放注册",
		"email_missing":       "尚未验证邮箱",
		"phone_missing":       "尚未验证手机",
		"name_missing":        "尚未填写显示名",
		"role_missing":        "没有本网站所需的角色",
	},
	Actions: map[string]string{
		"approve": "批准", "enable": "启用", "disable": "停用", "roles": "修改角色", "delete": "删除",
		"end_session": "退出该浏览器", "end_sessions": "退出所有浏览器",
	},
	Questions: map[string]message{
		"approve":      {"批准此用户？", "批准对使用同一用户库的所有网站有效。"},
		"enable":       {"启用此用户？", "此用户将可以重新登录。"},
		"disable":      {"停用此用户？", "此用户将立即在所有浏览器退出登录，启用之前不能再登录。"},
		"roles":        {"修改此用户的角色？", "修改立即生效，已打开的长连接会断开。"},
		"delete":       {"删除此用户？", "此用户的全部资料会被删除，所有登录立即失效，且无法恢复。如果不希望此人再进入，请改用停用：被删除的人可以重新注册。"},
		"end_session":  {"让该浏览器退出登录？", "此用户可以在该浏览器重新登录。"},
		"end_sessions": {"让此用户在所有浏览器退出登录？", "所有登录立即失效，此用户可以重新登录。"},
	},
	Done: map[string]string{
		"approve": "已批准。", "enable": "已启用。", "disable": "已停用，并已在所有浏览器退出登录。", "roles": "角色已修改。",
		"delete": "已删除。", "end_session": "该浏览器已退出登录。", "end_sessions": "已在所有浏览器退出登录。",
	},
	Refused: map[string]string{
		"changed":    "未作任何修改：此用户刚刚被其他管理员修改过，以下是最新情况。",
		"gone":       "未作任何修改：该用户刚刚已被删除。",
		"no_session": "未作任何修改：该登录已经失效。",
		"self":       "未作任何修改：不能停用、删除自己，也不能取消自己的管理角色。请联系其他管理员。",
		"bad_roles":  "未作任何修改：角色最长 64 个字符，只能使用 A–Z、a–z、数字和 - _ . : /，每人最多 32 个。",
	},
}
