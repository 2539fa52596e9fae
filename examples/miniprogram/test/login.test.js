const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { Phone, clock, root, settled, handlers } = require('./phone')
const { messages } = require('../pages/login/messages')

const scene = 'ABCDEFGHIJKLMNOPQRSTUVWXY2'
const ticket = 'TICKETTICKETTICKETTICKET23'

function attempt(more) {
  return {
    ticket,
    site: '示例网站',
    host: 'site.example',
    client: { browser: 'Chrome · Windows', address: '192.0.2.7' },
    confirm: 'number',
    choices: ['42', '17', '99'],
    created_at: new Date(clock.now - 60000).toISOString().replace('000Z', '123456789Z'),
    expires_at: new Date(clock.now + 120000).toISOString().replace('000Z', '123456789Z'),
    ...more,
  }
}

// asked is a phone that shows the question.
async function asked(more, config) {
  const phone = new Phone(config)
  phone.answer(200, attempt(more))
  await phone.open({ scene })
  return phone
}

function has(phone, ...parts) {
  for (const part of parts) {
    assert.ok(phone.shown().includes(part), `"${part}" is missing in: ${phone.shown()}`)
  }
}

// quiet says that nothing of the sign-in is left behind.
function quiet(phone) {
  assert.deepEqual(phone.logged, [])
  for (const name of phone.calls) {
    assert.ok(['login', 'request', 'exitMiniProgram'].includes(name), `wx.${name} was called`)
  }
}

test('a scanned code and a link open the same sign-in', async () => {
  const encoded = 'a/b+c_d-e.f~g'
  for (const [raw, want] of [[encodeURIComponent(encoded), encoded], [scene, scene], ['100%', '100%']]) {
    const phone = new Phone()
    phone.answer(200, attempt())
    await phone.open({ scene: raw })
    assert.deepEqual(phone.sent('scan'), [{ scene: want, code: 'code1' }])
    const { url, method } = phone.requests[0]
    assert.deepEqual({ url, method }, { url: 'https://site.example/_wechat/mini/wxmini/scan', method: 'POST' })
  }
})

test('a base URL that ends with a slash works, too', async () => {
  const phone = await asked({}, { base: 'https://site.example/_wechat/' })
  assert.equal(phone.requests[0].url, 'https://site.example/_wechat/mini/wxmini/scan')
})

test('opened without a code it says what to scan and asks nobody', async () => {
  for (const query of [{}, undefined, { scene: '' }, { scene: 'x'.repeat(33) }]) {
    const phone = new Phone()
    await phone.open(query)
    has(phone, '请扫描登录码')
    assert.equal(phone.requests.length, 0)
    await phone.tap('.button')
    assert.deepEqual(phone.calls, ['exitMiniProgram'])
  }
})

test('the question names site, host, browser, address and time', async () => {
  const phone = await asked()
  has(phone, '示例网站', 'site.example', 'Chrome · Windows', '192.0.2.7', '19:59:00（北京时间）', '剩余时间', '2:00')
  has(phone, '网页上显示的是哪个数字', '42', '17', '99', '拒绝')
  assert.equal(phone.find('.yes'), undefined)
  quiet(phone)
})

test('the number that is chosen is sent, with what the person adds', async () => {
  const phone = await asked()
  await phone.tap('.nickname', 'input', { value: ' 小明 ' })
  await phone.tap('.phone', 'getphonenumber', { code: 'PHONECODE', errMsg: 'getPhoneNumber:ok' })
  has(phone, '已授权')
  phone.answer(200, { state: 'confirmed' })
  phone.page.querySelectorAll('.choice')[1].dispatchEvent('tap')
  await settled()
  assert.deepEqual(phone.sent('confirm'), [{ ticket, number: '17', nickname: '小明', phone_code: 'PHONECODE' }])
  has(phone, '已确认登录', '请回到网页继续')
  assert.ok(!phone.shown().includes(ticket))
  assert.equal(clock.timers.size, 0)
  assert.equal(JSON.stringify(phone.page.data).includes(ticket), false)
  quiet(phone)
})

test('where a tap is enough there is one button, and no number', async () => {
  const phone = await asked({ confirm: 'tap', choices: undefined })
  assert.equal(phone.find('.choice'), undefined)
  phone.answer(200, { state: 'confirmed' })
  await phone.tap('.yes')
  assert.deepEqual(phone.sent('confirm'), [{ ticket, number: '', nickname: '', phone_code: '' }])
  has(phone, '已确认登录')
})

test('refusing takes one tap', async () => {
  for (const [state, want] of [['cancelled', '已拒绝登录'], ['consumed', '已退出登录']]) {
    const phone = await asked()
    phone.answer(200, { state })
    await phone.tap('.refuse')
    assert.deepEqual(phone.sent('cancel'), [{ ticket }])
    has(phone, want)
    assert.equal(phone.find('.choice'), undefined)
    assert.equal(phone.find('.regret'), undefined)
    quiet(phone)
  }
})

// confirmed is a phone on which the person has confirmed.
async function confirmed() {
  const phone = await asked()
  phone.answer(200, { state: 'confirmed' })
  await phone.tap('.choice')
  has(phone, '已确认登录', '不是我')
  return phone
}

test('after confirming one can still say that it was not oneself', async () => {
  for (const answer of [{ state: 'consumed', disowned: true }, { state: 'cancelled' }]) {
    const phone = await confirmed()
    phone.answer(200, answer)
    await phone.tap('.regret')
    assert.deepEqual(phone.sent('cancel'), [{ ticket }])
    has(phone, '已退出登录')
    assert.ok(!phone.shown().includes('已确认登录'))
    assert.equal(phone.find('.regret'), undefined)
    quiet(phone)
  }
})

test('saying so is repeated where it does not get through', async () => {
  const phone = await confirmed()
  phone.lose()
  await phone.tap('.regret')
  has(phone, '已确认登录', '网络不通')
  const release = phone.hold(200, { state: 'cancelled' })
  await phone.tap('.regret')
  await phone.tap('.regret')
  assert.equal(phone.sent('cancel').length, 2) // the lost one, and one more
  release()
  await settled()
  has(phone, '已退出登录')
  assert.ok(!phone.shown().includes('网络不通'))
})

test('nobody who has not confirmed is offered to take it back', async () => {
  for (const [status, body] of [[403, { error: 'denied', reason: 'wrong_number' }], [410, { error: 'expired' }]]) {
    const phone = await asked()
    phone.answer(status, body)
    await phone.tap('.choice')
    assert.equal(phone.find('.regret'), undefined)
  }
})

test('the site is sent JSON', async () => {
  const phone = await confirmed()
  assert.deepEqual(phone.requests.map((r) => r.header['content-type']), ['application/json', 'application/json'])
})

test('nickname and phone number are asked for only where the operator wants them', async () => {
  const phone = await asked({}, { askNickname: false, askPhone: false })
  assert.equal(phone.find('.nickname'), undefined)
  assert.equal(phone.find('.phone'), undefined)
})

test('a nickname that WeChat does not let pass is not sent', async () => {
  const phone = await asked()
  await phone.tap('.nickname', 'input', { value: 'x' })
  await phone.tap('.nickname', 'nicknamereview', { pass: true })
  assert.equal(phone.page.data.nickname, 'x')
  await phone.tap('.nickname', 'nicknamereview', { pass: false })
  assert.equal(phone.page.data.nickname, '')
})

test('without a phone number one signs in all the same', async () => {
  for (const [errMsg, said] of [['getPhoneNumber:fail user deny', false], ['getPhoneNumber:fail jsapi has no permission', true]]) {
    const phone = await asked()
    await phone.tap('.phone', 'getphonenumber', { errMsg })
    assert.equal(phone.shown().includes('暂时无法获取手机号'), said)
    phone.answer(200, { state: 'confirmed' })
    await phone.tap('.choice')
    assert.equal(phone.sent('confirm')[0].phone_code, '')
  }
})

test('nothing is sent twice', async () => {
  const phone = await asked()
  const release = phone.hold(200, { state: 'confirmed' })
  await phone.tap('.choice')
  assert.equal(phone.page.data.busy, true)
  await phone.tap('.choice')
  await phone.tap('.refuse')
  assert.equal(phone.requests.length, 2) // the scan, and the first tap
  release()
  await settled()
  has(phone, '已确认登录')
})

test('a login code that WeChat refuses is replaced once', async () => {
  const phone = new Phone()
  phone.answer(403, { error: 'bad_code' })
  phone.answer(200, attempt())
  await phone.open({ scene })
  assert.deepEqual(phone.sent('scan').map((body) => body.code), ['code1', 'code2'])
  has(phone, '网页上显示的是哪个数字')
})

test('a login code that WeChat refuses twice is for the person to repeat', async () => {
  const phone = new Phone()
  phone.answer(403, { error: 'bad_code' })
  phone.answer(403, { error: 'bad_code' })
  await phone.open({ scene })
  has(phone, '微信登录没有成功')
  assert.equal(phone.requests.length, 2)
  phone.answer(200, attempt())
  await phone.tap('.primary')
  assert.equal(phone.sent('scan')[2].code, 'code3')
  has(phone, '网页上显示的是哪个数字')
})

const over = [
  [404, { error: 'attempt_not_found' }, '登录码已失效'],
  [404, { error: 'unknown_account' }, '小程序尚未接入'],
  [400, { error: 'bad_request' }, '无法登录'],
  [403, { error: 'cross_origin' }, '无法登录'],
  [415, { error: 'unsupported_media_type' }, '无法登录'],
  [429, { error: 'too_many_tries' }, '尝试次数过多'],
  [409, { error: 'taken' }, '登录码已被他人扫描'],
  [409, { error: 'confirmed' }, '已经确认过了'],
  [410, { error: 'expired' }, '登录码已过期'],
  [410, { error: 'cancelled' }, '登录已取消'],
  [410, { error: 'consumed' }, '登录已完成'],
  [403, { error: 'denied', reason: 'wrong_number' }, '数字不正确'],
  [403, { error: 'denied', reason: 'disabled' }, '账号已停用'],
  [403, { error: 'denied', reason: 'registration_closed' }, '暂不开放注册'],
  [403, { error: 'denied', reason: 'something new' }, '登录被拒绝'],
]

for (const [status, body, title] of over) {
  test(`${body.reason || body.error} ends the sign-in`, async () => {
    const scanning = new Phone()
    scanning.answer(status, body)
    await scanning.open({ scene })
    has(scanning, title)
    assert.equal(scanning.find('.primary'), undefined)

    for (const button of ['.choice', '.refuse']) {
      const answering = await asked()
      answering.answer(status, body)
      await answering.tap(button)
      has(answering, title)
      assert.equal(answering.find(button), undefined)
      assert.equal(clock.timers.size, 0)
      quiet(answering)
    }
  })
}

const passing = [
  ['too many requests', (p) => p.answer(429, { error: 'too_many_requests' }, { 'Retry-After': '30' }), '等待 30 秒后再试'],
  ['WeChat is away', (p) => p.answer(503, { error: 'wechat_unavailable' }, { 'retry-after': '5' }), '等待 5 秒后再试'],
  ['the store is away', (p) => p.answer(503, { error: 'store_unavailable' }), '等待片刻后再试'],
  ['a proxy answers', (p) => p.answer(502, '<html>Bad Gateway</html>'), '网站暂时不可用'],
  ['a hotspot answers', (p) => p.answer(200, '<html>Sign in to this network</html>'), '网站暂时不可用'],
  ['an unknown error', (p) => p.answer(418, { error: 'teapot' }), '网站暂时不可用'],
  ['no network', (p) => p.lose(), '网络不通'],
]

for (const [name, trouble, want] of passing) {
  test(`${name}: one can try again`, async () => {
    const scanning = new Phone()
    trouble(scanning)
    await scanning.open({ scene })
    has(scanning, want)
    scanning.answer(200, attempt())
    await scanning.tap('.primary')
    has(scanning, '网页上显示的是哪个数字')

    for (const [button, action, body, end] of [['.choice', 'confirm', { state: 'confirmed' }, '已确认登录'], ['.refuse', 'cancel', { state: 'cancelled' }, '已拒绝登录']]) {
      const answering = await asked()
      trouble(answering)
      await answering.tap(button)
      has(answering, want, '网页上显示的是哪个数字')
      answering.answer(200, body)
      await answering.tap(button)
      assert.equal(answering.sent(action).length, 2)
      has(answering, end)
      quiet(answering)
    }
  })
}

test('a number that is none of the three leaves the question open', async () => {
  const phone = await asked()
  phone.answer(400, { error: 'bad_choice' })
  await phone.tap('.choice')
  has(phone, '请选择网页上显示的数字', '网页上显示的是哪个数字')
})

test('a phone number that took too long is asked for anew', async () => {
  const phone = await asked()
  await phone.tap('.phone', 'getphonenumber', { code: 'OLD' })
  phone.answer(403, { error: 'bad_code' })
  await phone.tap('.choice')
  has(phone, '手机号授权已失效', '点击授权')
  phone.answer(200, { state: 'confirmed' })
  await phone.tap('.choice')
  assert.deepEqual(phone.sent('confirm').map((body) => body.phone_code), ['OLD', ''])
})

test('a site that the mini program may not call is named as the cause', async () => {
  const phone = new Phone()
  phone.lose('request:fail url not in domain list')
  await phone.open({ scene })
  has(phone, 'request 合法域名')
})

test('without wx.login there is a way to try again', async () => {
  const phone = new Phone()
  phone.offline = true
  await phone.open({ scene })
  has(phone, '微信登录没有成功')
  assert.equal(phone.requests.length, 0)
  phone.offline = false
  phone.answer(200, attempt())
  await phone.tap('.primary')
  has(phone, '网页上显示的是哪个数字')
})

test('the time runs out', async () => {
  const phone = await asked()
  await phone.pass(61000)
  has(phone, '0:59')
  await phone.pass(59000)
  has(phone, '登录码已过期')
  assert.equal(phone.find('.choice'), undefined)
  assert.equal(clock.timers.size, 0)
})

test('an answer that is under way is not cut off by the end of the time', async () => {
  const phone = await asked()
  const release = phone.hold(200, { state: 'confirmed' })
  await phone.tap('.choice')
  await phone.pass(121000)
  release()
  await settled()
  has(phone, '已确认登录')
})

test('a phone whose clock is wrong counts by the clock of the site', async () => {
  const phone = new Phone()
  const real = clock.now - 600000 // the phone is ten minutes fast
  phone.answer(200, attempt({ expires_at: new Date(real + 90000).toISOString() }), { Date: new Date(real).toUTCString() })
  await phone.open({ scene })
  has(phone, '1:30')
})

test('a page that was left takes no notice of a late answer', async () => {
  const phone = await asked()
  const release = phone.hold(200, { state: 'confirmed' })
  await phone.tap('.choice')
  phone.page.instance.onUnload()
  assert.equal(clock.timers.size, 0)
  release()
  await settled()
  assert.ok(!phone.shown().includes('已确认登录'))
})

test('every error of the gateway has its own text', () => {
  const source = fs.readFileSync(path.join(root, '../../portal/mini.go'), 'utf8')
  const codes = [...source.matchAll(/writeError\(w, http\.Status\w+, "(\w+)"/g)].map((m) => m[1])
  assert.ok(codes.length >= 8, `found only ${codes}`)
  for (const code of codes) {
    assert.ok(messages[code], `no text for ${code}`)
  }
})

test('every handler that the page names is there', () => {
  const wxml = fs.readFileSync(path.join(root, 'pages/login/login.wxml'), 'utf8')
  const named = [...wxml.matchAll(/\sbind\w+="(\w+)"/g)].map((m) => m[1])
  assert.ok(named.length >= 8)
  new Phone() // loads the page
  for (const name of named) {
    assert.ok(handlers().includes(name), `no handler ${name}`)
  }
})

test('what the mini program is made of is well-formed and there', () => {
  const read = (name) => JSON.parse(fs.readFileSync(path.join(root, name), 'utf8'))
  const app = read('app.json')
  for (const page of app.pages) {
    for (const kind of ['wxml', 'wxss', 'js', 'json']) {
      assert.ok(fs.existsSync(path.join(root, `${page}.${kind}`)), `${page}.${kind}`)
    }
    read(`${page}.json`)
  }
  read(app.sitemapLocation)
  assert.equal(read('project.config.json').appid, 'touristappid')
  const theme = read(app.themeLocation)
  for (const value of Object.values(app.window).filter((v) => v.startsWith('@'))) {
    assert.ok(theme.light[value.slice(1)] && theme.dark[value.slice(1)], value)
  }
})
