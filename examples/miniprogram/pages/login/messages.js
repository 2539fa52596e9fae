// 每种失败的标题、说明和下一步。over 表示这次登录已经结束，重试没有意义。
const again = '请回到网页，刷新后扫描新的登录码。'

const messages = {
  no_scene: { title: '请扫描登录码', text: '请在要登录的网页上打开登录页，用微信扫描网页上的登录码。', over: true },
  attempt_not_found: { title: '登录码已失效', text: again, over: true },
  taken: { title: '登录码已被他人扫描', text: '这个登录码已被其他人扫描。' + again, over: true },
  expired: { title: '登录码已过期', text: again, over: true },
  cancelled: { title: '登录已取消', text: '这次登录已经取消。如需登录，' + again, over: true },
  confirmed: { title: '已经确认过了', text: '你已确认这次登录，请回到网页继续。', over: true },
  consumed: { title: '登录已完成', text: '这次登录已经完成，请回到网页继续。', over: true },
  denied: { title: '登录被拒绝', text: '网站没有接受这次登录。如有疑问，请联系网站管理员。', over: true },
  wrong_number: { title: '数字不正确', text: '为了安全，这次登录已被拒绝。如果正是你本人在登录，' + again, over: true },
  disabled: { title: '账号已停用', text: '你在这个网站的账号已停用，请联系网站管理员。', over: true },
  registration_closed: { title: '暂不开放注册', text: '这个网站目前不接受新用户，请联系网站管理员。', over: true },
  unknown_account: { title: '小程序尚未接入', text: '网站没有接入这个小程序，请联系网站管理员。', over: true },
  bad_request: { title: '无法登录', text: '网站没有接受小程序的请求，请联系网站管理员。', over: true },
  cross_origin: { title: '无法登录', text: '网站没有接受小程序的请求，请联系网站管理员。', over: true },
  unsupported_media_type: { title: '无法登录', text: '网站没有接受小程序的请求，请联系网站管理员。', over: true },
  domain: { title: '无法连接网站', text: '小程序尚未把网站加入 request 合法域名，请联系网站管理员。', over: true },
  bad_choice: { title: '还没有回答', text: '请选择网页上显示的数字。' },
  bad_code: { title: '微信登录没有成功', text: '微信没有接受登录凭证，请重试。' },
  bad_phone: { title: '手机号授权已失效', text: '请重新授权手机号，或者不提供手机号直接确认。' },
  blocked: { title: '微信限制了该账号', text: '微信限制了你的账号登录小程序，请在微信中查看原因。', over: true },
  too_many_tries: { title: '尝试次数过多', text: '这个登录码不能再用了。' + again, over: true },
  too_many_requests: { title: '操作太频繁', text: '请等待{wait}后再试。' },
  wechat_unavailable: { title: '微信暂时没有响应', text: '请等待{wait}后再试。' },
  store_unavailable: { title: '网站暂时不可用', text: '请等待{wait}后再试。' },
  network: { title: '网络不通', text: '请检查手机网络后再试。' },
  login_failed: { title: '微信登录没有成功', text: '请检查手机网络后再试。' },
  unavailable: { title: '网站暂时不可用', text: '请稍后再试。' },
}

// of 返回一次失败的说明；不认识的失败按网站暂时不可用处理。
function of(failure) {
  const known = messages[failure.reason] || messages[failure.error] || messages.unavailable
  const wait = failure.wait > 0 ? ` ${failure.wait} 秒` : '片刻'
  return { title: known.title, text: known.text.replace('{wait}', wait), over: Boolean(known.over) }
}

module.exports = { of, messages }
