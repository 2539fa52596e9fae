// 登录确认页：告诉用户哪个浏览器正在登录，并把用户的回答交给网站。
const config = require('../../config')
const gateway = require('./gateway')
const messages = require('./messages')

// 网站的登录码都在这个长度以内；更长的不是。
const maxScene = 32

Page({
  data: {
    view: 'loading', // loading：读取中；ask：等待回答；end：已结束或需要重试
    busy: false,
    problem: '',

    site: '',
    host: '',
    browser: '',
    address: '',
    time: '',
    left: '',
    confirm: '',
    choices: [],

    askNickname: config.askNickname,
    askPhone: config.askPhone,
    nickname: '',
    hasPhone: false,

    done: false,
    retry: false,
    regret: false, // 确认之后仍可以说“不是我”
    title: '',
    text: '',
  },

  onLoad(query) {
    this.scene = sceneOf(query)
    this.scan()
  },

  onUnload() {
    this.gone = true
    clearInterval(this.timer)
  },

  scan() {
    if (!this.scene) {
      this.fail({ error: 'no_scene' })
      return
    }
    this.setData({ view: 'loading' })
    this.send(() => gateway.scan(this.scene), ({ attempt, skew }) => this.ask(attempt, skew))
  },

  ask(attempt, skew) {
    this.ticket = attempt.ticket
    this.expires = timeOf(attempt.expires_at) - skew
    const client = attempt.client || {}
    this.setData({
      view: 'ask',
      problem: '',
      site: attempt.site,
      host: attempt.host,
      browser: client.browser || '未知浏览器',
      address: client.address || '未知',
      time: beijing(timeOf(attempt.created_at)),
      confirm: attempt.confirm,
      choices: attempt.choices || [],
    })
    this.tick()
    clearInterval(this.timer)
    this.timer = setInterval(() => this.tick(), 1000)
  },

  // tick 更新剩余时间。请求还在路上时由服务器判断是否过期。
  tick() {
    const seconds = Math.ceil((this.expires - Date.now()) / 1000)
    if (seconds <= 0 && !this.sending) {
      this.fail({ error: 'expired' })
      return
    }
    this.setData({ left: clockOf(Math.max(seconds, 0)) })
  },

  onNickname(event) {
    this.setData({ nickname: event.detail.value || '' })
  },

  // 微信会审核昵称，没有通过的会被清空。
  onNicknameReview(event) {
    if (event.detail.pass === false) {
      this.setData({ nickname: '' })
    }
  },

  onPhone(event) {
    if (event.detail.code) {
      this.phoneCode = event.detail.code
      this.setData({ hasPhone: true, problem: '' })
    } else if (!/deny|cancel/.test(event.detail.errMsg)) {
      this.setData({ problem: '暂时无法获取手机号，可以不提供手机号直接确认。' })
    }
  },

  onNumber(event) {
    this.confirm(event.currentTarget.dataset.number)
  },

  onYes() {
    this.confirm('')
  },

  confirm(number) {
    const answer = { ticket: this.ticket, number, nickname: this.data.nickname.trim(), phone_code: this.phoneCode || '' }
    this.send(() => gateway.confirm(answer), () => this.confirmed())
  },

  // confirmed 是确认之后的画面。票据留在内存中，直到页面关闭：用户还可以说“不是我”。
  confirmed() {
    const ticket = this.ticket
    this.end('已确认登录', '请回到网页继续。如果登录的不是你本人，请点击“不是我”。', true)
    this.ticket = ticket
    this.setData({ regret: true })
  },

  // onRefuse 拒绝登录；已经确认的，撤销确认，网页随即退出登录。
  onRefuse() {
    const regret = this.data.regret
    this.send(() => gateway.cancel(this.ticket), ({ state }) => {
      if (regret || state === 'consumed') {
        this.end('已退出登录', '网页上的这次登录已经失效。请勿扫描他人发来的登录码。', false)
      } else {
        this.end('已拒绝登录', '网页没有登录。如果不是你本人扫的码，请勿扫描他人发来的登录码。', false)
      }
    })
  },

  onRetry() {
    this.scan()
  },

  onClose() {
    wx.exitMiniProgram({})
  },

  // send 发送一个请求；一个还没有回答时，不发送下一个。
  send(request, then) {
    if (this.sending) {
      return
    }
    this.sending = true
    this.setData({ busy: true, problem: '' })
    const settle = (next) => (value) => {
      this.sending = false
      if (!this.gone) {
        this.setData({ busy: false })
        next(value)
      }
    }
    request().then(settle(then), settle((failure) => this.fail(failure)))
  },

  // fail 说明出了什么问题：登录已结束就到此为止，否则可以再试。
  fail(failure) {
    let known = failure
    if (failure.error === 'bad_code' && this.ticket) {
      this.phoneCode = ''
      this.setData({ hasPhone: false })
      known = { error: 'bad_phone' }
    }
    const message = messages.of(known)
    if (message.over) {
      this.end(message.title, message.text, false)
    } else if (this.ticket) {
      this.setData({ problem: `${message.title}。${message.text}` })
    } else {
      this.setData({ view: 'end', done: false, retry: true, title: message.title, text: message.text })
    }
  },

  // end 是最后一步：票据从内存中清除，页面只剩下结果（确认之后除外，见 confirmed）。
  end(title, text, done) {
    clearInterval(this.timer)
    this.ticket = ''
    this.phoneCode = ''
    this.setData({ view: 'end', done, retry: false, regret: false, problem: '', title, text })
  },
})

// sceneOf 取出登录码：扫码时编码过，从链接打开时没有。
function sceneOf(query) {
  const raw = (query && query.scene) || ''
  let scene = raw
  try {
    scene = decodeURIComponent(raw)
  } catch (err) {
    // 没有编码过
  }
  return scene.length <= maxScene ? scene : ''
}

// timeOf 解析服务器的时间：有的手机不认识秒后面的九位小数。
function timeOf(text) {
  return Date.parse(String(text).replace(/\.\d+/, ''))
}

// beijing 以北京时间表示，与网站在聊天中的消息一致。
function beijing(time) {
  if (isNaN(time)) {
    return '未知'
  }
  return new Date(time + 8 * 3600 * 1000).toISOString().replace('T', ' ').slice(0, 19) + '（北京时间）'
}

function clockOf(seconds) {
  const rest = String(seconds % 60).padStart(2, '0')
  return `${Math.floor(seconds / 60)}:${rest}`
}
