//! Sentences of a status's next steps.

use super::Phrase;

/// The table.
pub(super) const TABLE: &[Phrase] = &[
    Phrase {
        code: "status_stopped",
        en: "Start the integration when it should answer again.",
        zh: "需要恢复应答时，请启动该机器人。",
    },
    Phrase {
        code: "status_unusable",
        en: "Correct the settings of the integration: {why}.",
        zh: "请更正该机器人的设置：{why}。",
    },
    Phrase {
        code: "status_bind",
        en: "Create or enable a trigger that binds this integration to an agent.",
        zh: "请创建或启用触发器，把该机器人绑定到一个智能体。",
    },
    Phrase {
        code: "status_login",
        en: "Log in: start a login and scan the code with the account that should be the bot.",
        zh: "请登录：发起登录，并用要作为机器人的账号扫码。",
    },
    Phrase {
        code: "status_relay",
        en: "Wait a moment: a relay is about to connect. If nothing changes within a minute, see whether a relay runs.",
        zh: "请稍候：中继即将连接。若一分钟内没有变化，请查看中继是否在运行。",
    },
    Phrase {
        code: "status_kicked",
        en: "Another client has taken the bot's connection: stop it there, then restart this integration.",
        zh: "另一个客户端占用了该机器人的连接：请在那边停止它，然后重启该机器人。",
    },
    Phrase {
        code: "status_refused",
        en: "Correct the credentials: the platform refuses them{code}.",
        zh: "请更正凭据：平台拒绝了它们{code}。",
    },
    Phrase {
        code: "status_connecting",
        en: "Wait a moment: it is connecting.",
        zh: "请稍候：正在连接。",
    },
    Phrase {
        code: "status_retrying",
        en: "Nothing to do for now: it connects again by itself{code}.",
        zh: "暂时无需处理：会自动重新连接{code}。",
    },
    Phrase {
        code: "status_silent",
        en: "Nothing to do for now: the connection shows no sign of life and is replaced{code}.",
        zh: "暂时无需处理：连接没有响应，正在更换{code}。",
    },
    Phrase {
        code: "status_restart",
        en: "Restart the integration{code}.",
        zh: "请重启该机器人{code}。",
    },
    Phrase {
        code: "status_last_error",
        en: " (last error: {code})",
        zh: "（最近一次错误：{code}）",
    },
    Phrase {
        code: "status_code",
        en: " (code {code})",
        zh: "（代码 {code}）",
    },
    Phrase {
        code: "status_signature",
        en: "Requests with a wrong signature arrive: compare {field} here with the value on the platform.",
        zh: "收到签名错误的请求：请将此处的 {field} 与平台上的值核对。",
    },
    Phrase {
        code: "status_first_signature",
        en: "A request came at {at}, but its signature was wrong: compare {field} here with the value on the platform.",
        zh: "{at} 收到请求，但签名错误：请将此处的 {field} 与平台上的值核对。",
    },
    Phrase {
        code: "status_not_public",
        en: "Give this deployment a public https address (--public-url): the platform can't call {url}.",
        zh: "请为本部署配置公网 https 地址（--public-url）：平台无法访问 {url}。",
    },
    Phrase {
        code: "status_not_public_or_connect",
        en: "Give this deployment a public https address (--public-url), or use a long connection: the platform can't call {url}.",
        zh: "请为本部署配置公网 https 地址（--public-url），或改用长连接：平台无法访问 {url}。",
    },
    Phrase {
        code: "status_callback",
        en: "Enter {url} as the callback address on the platform, then send the bot a message.",
        zh: "请在平台上把 {url} 填为回调地址，然后给机器人发一条消息。",
    },
    Phrase {
        code: "status_registering",
        en: "Wait a minute: the bridge registers {url} at the platform by itself. Then send the bot a message.",
        zh: "请等待一分钟：系统会自动在平台上登记 {url}。然后给机器人发一条消息。",
    },
    Phrase {
        code: "status_registration_failed",
        en: "Wait: {url} could not be registered at the platform ({code}), and the bridge repeats that by itself. Restarting the integration repeats it at once.",
        zh: "请等待：未能在平台上登记 {url}（{code}），系统会自动重试。重启该机器人会立即重试。",
    },
    Phrase {
        code: "status_registered",
        en: "Send the bot a message. If it doesn't arrive, restart the integration: that registers {url} at the platform again.",
        zh: "请给机器人发一条消息。若未收到，请重启该机器人：重启会在平台上重新登记 {url}。",
    },
    Phrase {
        code: "error_registration",
        en: "the registration at the platform failed and is repeated: {code}",
        zh: "在平台上登记失败，正在重试：{code}",
    },
    Phrase {
        code: "status_agent_failed",
        en: "See why the agent fails: {code}{words}; then test it.",
        zh: "请查看智能体失败的原因：{code}{words}；然后进行测试。",
    },
    Phrase {
        code: "cause_agent_failed",
        en: "the agent failed: {code}{words}",
        zh: "智能体失败：{code}{words}",
    },
    Phrase {
        code: "cause_delivery_failed",
        en: "the answer could not be delivered: {code}{words}",
        zh: "回复无法送达：{code}{words}",
    },
    Phrase {
        code: "error_kicked",
        en: "another client has taken the bot over",
        zh: "另一个客户端占用了该机器人",
    },
    Phrase {
        code: "error_login_expired",
        en: "the platform has ended the login",
        zh: "平台已结束登录",
    },
    Phrase {
        code: "error_credentials",
        en: "the platform refuses the credentials: code {code}",
        zh: "平台拒绝了凭据：代码 {code}",
    },
    Phrase {
        code: "error_stale_token",
        en: "the access token is not valid: code {code}",
        zh: "访问令牌无效：代码 {code}",
    },
    Phrase {
        code: "error_no_connection",
        en: "no connection: {code}",
        zh: "没有连接：{code}",
    },
    Phrase {
        code: "error_calls_fail",
        en: "calls to the platform fail and are retried: code {code}",
        zh: "对平台的调用失败，正在重试：代码 {code}",
    },
    Phrase {
        code: "status_delivery_failed",
        en: "Answers can't be delivered: code {code}. Run the doctor to find out why.",
        zh: "回复无法送达：代码 {code}。请运行诊断查找原因。",
    },
];
