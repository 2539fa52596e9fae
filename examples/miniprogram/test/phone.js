// A simulated phone: it renders the login page, and its wx answers as the test says.
const path = require('node:path')
const { JSDOM } = require('jsdom')

const root = path.join(__dirname, '..')

const dom = new JSDOM('<!doctype html>', { pretendToBeVisual: true })
global.window = dom.window
for (const name of ['document', 'HTMLElement', 'Node', 'CustomEvent', 'MutationObserver']) {
  global[name] = dom.window[name]
}
const simulate = require('miniprogram-simulate')

// The simulator knows components alone; a page is one with a life of its own.
let definition
global.Page = ({ data, ...methods }) => {
  definition = { data, methods }
  global.Component(definition)
}

// WeChat's own compiler of WXML comes as a program for this processor only.
const compiler = process.arch === 'x64' ? 'official' : 'simulate'

// now is the time of the phone; tests move it.
const clock = { now: Date.parse('2026-09-01T12:00:00Z'), timers: new Set() }
Date.now = () => clock.now
global.setInterval = (fn) => {
  clock.timers.add(fn)
  return fn
}
global.clearInterval = (fn) => clock.timers.delete(fn)

// settled returns when everything that was set off has been done.
async function settled() {
  for (let i = 0; i < 10; i++) {
    await new Promise((done) => setImmediate(done))
  }
}

class Phone {
  constructor(config = {}) {
    Object.assign(require('../config'), {
      base: 'https://site.example/_wechat', appId: 'wxmini', askNickname: true, askPhone: true, ...config,
    })
    this.calls = [] // of wx, by name
    this.requests = []
    this.answers = []
    this.logged = []
    this.logins = []
    global.wx = this.wx()
    for (const level of ['log', 'info', 'warn', 'error', 'debug']) {
      console[level] = (...args) => this.logged.push(args)
    }
    clock.timers.clear()
    this.page = simulate.render(simulate.load(path.join(root, 'pages/login/login'), { rootPath: root, compiler }))
    this.page.attach(document.createElement('div'))
  }

  wx() {
    const known = {
      login: (options) => setImmediate(() => {
        if (this.offline) {
          options.fail({ errMsg: 'login:fail' })
        } else {
          options.success({ code: `code${this.logins.push(options)}` })
        }
      }),
      request: (options) => {
        this.requests.push(options)
        const answer = this.answers.shift()
        setImmediate(() => answer(options))
      },
      exitMiniProgram: () => {},
    }
    return new Proxy(known, {
      get: (all, name) => (options) => {
        this.calls.push(name)
        return all[name](options)
      },
    })
  }

  // answer has the next request answered so.
  answer(statusCode, data, header = {}) {
    this.answers.push((options) => options.success({ statusCode, data, header }))
  }

  // lose has the next request get no answer.
  lose(errMsg = 'request:fail timeout') {
    this.answers.push((options) => options.fail({ errMsg }))
  }

  // hold has the next request wait until the function that it returns is called.
  hold(statusCode, data) {
    let release
    this.answers.push((options) => {
      release = () => options.success({ statusCode, data, header: {} })
    })
    return () => release()
  }

  async open(query) {
    this.page.instance.onLoad(query)
    await settled()
  }

  async tap(selector, event = 'tap', detail = {}) {
    const node = this.find(selector)
    if (!node) {
      throw new Error(`nothing is ${selector} in: ${this.shown()}`)
    }
    node.dispatchEvent(event, { detail })
    await settled()
  }

  find(selector) {
    return this.page.querySelector(selector)
  }

  // shown is what can be read on the page.
  shown() {
    return this.page.dom.textContent
  }

  async pass(milliseconds) {
    clock.now += milliseconds
    for (const fn of clock.timers) {
      fn()
    }
    await settled()
  }

  // sent are the bodies of the requests for an action.
  sent(action) {
    return this.requests.filter((r) => r.url.endsWith(`/${action}`)).map((r) => r.data)
  }
}

module.exports = { Phone, clock, root, settled, handlers: () => Object.keys(definition.methods) }
