// 需要修改的只有这一个文件。
module.exports = {
  // 网站登录接口的地址：网站的 https 地址加前缀，与 Caddyfile 的 prefix 一致（默认 /_wechat），末尾不带斜杠。
  base: 'https://example.com/_wechat',

  // 本小程序的 AppID，与 Caddyfile 中 mini_program 后面的一致。
  appId: 'wx0123456789abcdef',

  // 是否请用户填写昵称（选填）。需要在《用户隐私保护指引》中声明。
  askNickname: true,

  // 是否请用户提供手机号（选填）。需要已认证的非个人主体小程序，按次收费，并在《用户隐私保护指引》中声明。
  askPhone: false,
}
