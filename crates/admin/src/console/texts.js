// What the page says, in the browser's language.

const ENGLISH = {
  skipToMessage: "Skip to the message",
  organization: "Organization",
  signIn: "Sign in",
  signOut: "Sign out",
  signInHelp:
    "Paste the token that was printed when Tieline started, or one that your administrator made for you. It stays in this tab only.",
  token: "Token",
  playground: "Playground",
  talkTo: "Talk to",
  newSession: "New session",
  stop: "Stop",
  conversation: "Conversation",
  message: "Message",
  messageHint: "Type a message. Enter sends, Shift+Enter makes a new line.",
  send: "Send",
  integrations: "Integrations",
  refresh: "Refresh",
  doctor: "Why no answer?",
  allIsWell: "All is well.",
  close: "Close",
  signedOut: "Not signed in",
  ready: "Ready",
  signingIn: "Signing in…",
  answering: "An answer is being written…",
  noWeb: "There is no integration of platform “web” to talk to yet.",
  noIntegrations: "No integrations yet.",
  badToken: "This token is not accepted.",
  mayNotWrite: "This integration does not accept your messages: it is stopped, or your token may only read.",
  unreachable: "Tieline can't be reached.",
  gone: "This answer is no longer available.",
  failed: "Something went wrong: {0}",
  you: "You",
  answer: "Answer",
  state_connected: "connected",
  state_connecting: "connecting",
  state_retrying: "retrying",
  state_disconnected: "disconnected",
  state_disabled: "stopped",
  state_needs_login: "needs login",
  state_unknown: "unknown",
};

const CHINESE = {
  skipToMessage: "跳到消息输入框",
  organization: "组织",
  signIn: "登录",
  signOut: "退出登录",
  signInHelp: "请粘贴 Tieline 启动时打印的令牌，或管理员为您创建的令牌。令牌只保存在当前标签页中。",
  token: "令牌",
  playground: "对话测试",
  talkTo: "对话对象",
  newSession: "新会话",
  stop: "停止",
  conversation: "对话",
  message: "消息",
  messageHint: "输入消息。回车发送，Shift+回车换行。",
  send: "发送",
  integrations: "集成",
  refresh: "刷新",
  doctor: "为什么没有回答？",
  allIsWell: "一切正常。",
  close: "关闭",
  signedOut: "未登录",
  ready: "就绪",
  signingIn: "正在登录…",
  answering: "正在生成回答…",
  noWeb: "还没有可以对话的 web 平台集成。",
  noIntegrations: "还没有集成。",
  badToken: "令牌无效。",
  mayNotWrite: "该集成不接收您的消息：它已停止，或者您的令牌只有查看权限。",
  unreachable: "无法连接 Tieline。",
  gone: "该回答已失效。",
  failed: "出错了：{0}",
  you: "您",
  answer: "回答",
  state_connected: "已连接",
  state_connecting: "连接中",
  state_retrying: "重试中",
  state_disconnected: "已断开",
  state_disabled: "已停止",
  state_needs_login: "需要登录",
  state_unknown: "未知",
};

const chinese = (navigator.languages ?? [navigator.language])[0]?.toLowerCase().startsWith("zh") ?? false;
const texts = chinese ? CHINESE : ENGLISH;

/** The sentence called `key`, with `{0}` replaced. */
export function text(key, value = "") {
  return (texts[key] ?? ENGLISH[key] ?? key).replace("{0}", value);
}

/** Puts the sentences into the page. */
export function translate(page) {
  page.documentElement.lang = chinese ? "zh-CN" : "en";
  for (const element of page.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of page.querySelectorAll("[data-label]")) element.setAttribute("aria-label", text(element.dataset.label));
  for (const element of page.querySelectorAll("[data-placeholder]")) element.placeholder = text(element.dataset.placeholder);
}
