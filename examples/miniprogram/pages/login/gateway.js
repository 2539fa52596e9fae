// 与网站网关的通信。登录凭证（code）和票据（ticket）只在内存中经过，不写入日志或本地存储。
const config = require('../../config')

const timeout = 10000

// call 向网关发送一个请求，成功时返回应答，失败时以 {error, reason, wait} 拒绝。
function call(action, data) {
  return new Promise((resolve, reject) => {
    wx.request({
      url: `${config.base.replace(/\/+$/, '')}/mini/${config.appId}/${action}`,
      method: 'POST',
      header: { 'content-type': 'application/json' },
      data,
      timeout,
      success: (res) => {
        if (res.statusCode === 200 && isObject(res.data)) {
          resolve(res)
        } else {
          reject(failureOf(res))
        }
      },
      fail: (err) => reject({ error: /domain/.test(err && err.errMsg) ? 'domain' : 'network' }),
    })
  })
}

function isObject(value) {
  return typeof value === 'object' && value !== null
}

function failureOf(res) {
  const data = isObject(res.data) ? res.data : {}
  return { error: data.error, reason: data.reason, wait: Number(headerOf(res, 'retry-after')) }
}

// headerOf 读取一个应答头：不同平台上名称的大小写不同。
function headerOf(res, name) {
  const header = res.header || {}
  const key = Object.keys(header).find((k) => k.toLowerCase() === name)
  return key && header[key]
}

function login() {
  return new Promise((resolve, reject) => {
    wx.login({
      timeout,
      success: (res) => (res.code ? resolve(res.code) : reject({ error: 'login_failed' })),
      fail: () => reject({ error: 'login_failed' }),
    })
  })
}

// scan 告诉网关是谁打开了这个登录码。凭证被拒绝时换一个新的再试一次。
function scan(scene) {
  const once = () => login().then((code) => call('scan', { scene, code }))
  return once().catch((failure) => {
    if (failure.error !== 'bad_code') {
      throw failure
    }
    return once()
  }).then((res) => ({ attempt: res.data, skew: skewOf(res) }))
}

// skewOf 返回服务器时钟比手机快多少毫秒：有些手机的时间不准。
function skewOf(res) {
  return Date.parse(headerOf(res, 'date')) - Date.now() || 0
}

function confirm(answer) {
  return call('confirm', answer).then((res) => res.data)
}

function cancel(ticket) {
  return call('cancel', { ticket }).then((res) => res.data)
}

module.exports = { scan, confirm, cancel }
