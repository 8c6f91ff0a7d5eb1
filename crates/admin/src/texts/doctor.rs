//! Sentences of the doctor's findings.

use super::Phrase;

/// The table.
pub(super) const TABLE: &[Phrase] = &[
    Phrase {
        code: "started",
        en: "the integration is started",
        zh: "机器人已启动",
    },
    Phrase {
        code: "stopped",
        en: "the integration is stopped",
        zh: "机器人已停止",
    },
    Phrase {
        code: "settings_ok",
        en: "the settings can be used",
        zh: "设置可用",
    },
    Phrase {
        code: "settings_bad",
        en: "the settings can't be used: {why}",
        zh: "设置不可用：{why}",
    },
    Phrase {
        code: "trigger_names",
        en: "trigger {trigger} names the integration",
        zh: "触发器 {trigger} 指向该机器人",
    },
    Phrase {
        code: "triggers_name",
        en: "{n} trigger(s) name the integration",
        zh: "有 {n} 个触发器指向该机器人",
    },
    Phrase {
        code: "trigger_missing",
        en: "no trigger names the integration, so no agent answers",
        zh: "没有触发器指向该机器人，因此没有智能体应答",
    },
    Phrase {
        code: "trigger_enabled",
        en: "trigger {trigger} is enabled",
        zh: "触发器 {trigger} 已启用",
    },
    Phrase {
        code: "trigger_disabled",
        en: "trigger {trigger} is disabled, so no agent answers",
        zh: "触发器 {trigger} 已停用，因此没有智能体应答",
    },
    Phrase {
        code: "right_integration",
        en: "the enabled trigger names this integration",
        zh: "已启用的触发器指向该机器人",
    },
    Phrase {
        code: "wrong_integration",
        en: "trigger {trigger} is bound to another {platform} integration, \"{name}\"",
        zh: "触发器 {trigger} 绑定的是另一个 {platform} 机器人“{name}”",
    },
    Phrase {
        code: "credentials_ok",
        en: "the platform accepts the credentials",
        zh: "平台接受凭据",
    },
    Phrase {
        code: "credentials_proved",
        en: "requests of the platform are proved with the credentials",
        zh: "平台的请求已通过凭据验证",
    },
    Phrase {
        code: "credentials_refused",
        en: "the platform refuses the credentials: code {code}; check {fields}",
        zh: "平台拒绝凭据：代码 {code}；请检查 {fields}",
    },
    Phrase {
        code: "credentials_unknown",
        en: "the platform can't be asked about the credentials; the first message shows whether they work",
        zh: "无法向平台询问凭据；收到第一条消息后才能确定是否可用",
    },
    Phrase {
        code: "credentials_unavailable",
        en: "the platform did not answer as expected when asked about the credentials: {code}",
        zh: "向平台询问凭据时未得到预期的应答：{code}",
    },
    Phrase {
        code: "platform_ok",
        en: "{hosts} can be reached",
        zh: "可以访问 {hosts}",
    },
    Phrase {
        code: "platform_unreachable",
        en: "{host} can't be reached: {why}",
        zh: "无法访问 {host}：{why}",
    },
    Phrase {
        code: "unreachable_timeout",
        en: "no answer within {seconds} s",
        zh: "{seconds} 秒内无应答",
    },
    Phrase {
        code: "unreachable_refused",
        en: "no connection",
        zh: "无法建立连接",
    },
    Phrase {
        code: "unreachable_forbidden",
        en: "the address may not be called from this deployment",
        zh: "本部署不允许调用该地址",
    },
    Phrase {
        code: "signature_ok",
        en: "no request had a wrong signature",
        zh: "没有签名错误的请求",
    },
    Phrase {
        code: "signature_old",
        en: "the last wrong signature was at {at}; requests were proved since",
        zh: "最近一次签名错误在 {at}；之后的请求已通过验证",
    },
    Phrase {
        code: "signature_refused_one",
        en: "a request at {at} could not be authenticated ({reason}); others were, the last at {proved}. If the bot has been silent since, check {field}",
        zh: "{at} 的请求未通过验证（{reason}）；其他请求通过了验证，最近一次在 {proved}。如果机器人此后没有反应，请检查 {field}",
    },
    Phrase {
        code: "signature_bad",
        en: "a request at {at} could not be authenticated: {reason}; check {field}",
        zh: "{at} 的请求未通过验证：{reason}；请检查 {field}",
    },
    Phrase {
        code: "url_verified",
        en: "the platform last proved a request at {at}",
        zh: "平台最近一次通过验证的请求在 {at}",
    },
    Phrase {
        code: "url_not_public",
        en: "the callback address {url} is not a public https address, so the platform can't call it",
        zh: "回调地址 {url} 不是公网 https 地址，平台无法访问",
    },
    Phrase {
        code: "url_never_called",
        en: "the platform has never called {url} with a proof",
        zh: "平台从未以有效签名调用过 {url}",
    },
    Phrase {
        code: "relay_not_needed",
        en: "no connection is needed",
        zh: "无需长连接",
    },
    Phrase {
        code: "relay_holds",
        en: "{holder} holds the connection; its lease counts {seconds} s more",
        zh: "{holder} 持有连接，租约还有 {seconds} 秒",
    },
    Phrase {
        code: "relay_none",
        en: "no relay process is alive, so no process holds the connection",
        zh: "没有存活的中继进程，因此没有进程持有连接",
    },
    Phrase {
        code: "relay_pending",
        en: "{n} relay process(es) are alive, but none holds this connection yet",
        zh: "有 {n} 个中继进程存活，但还没有进程持有该连接",
    },
    Phrase {
        code: "relay_alive",
        en: "{n} relay process(es) are alive",
        zh: "有 {n} 个中继进程存活",
    },
    Phrase {
        code: "connection_since",
        en: "it is connected since {at}",
        zh: "自 {at} 起已连接",
    },
    Phrase {
        code: "connection_up",
        en: "it is connected",
        zh: "已连接",
    },
    Phrase {
        code: "connection_on_purpose",
        en: "there is none on purpose: {reason}",
        zh: "按设定没有连接：{reason}",
    },
    Phrase {
        code: "connection_down",
        en: "the connection is {state}: {reason}{error}",
        zh: "连接状态为 {state}：{reason}{error}",
    },
    Phrase {
        code: "connection_retrying",
        en: "the connection is {state}, {attempts} attempt(s) failed{error}",
        zh: "连接状态为 {state}，已失败 {attempts} 次{error}",
    },
    Phrase {
        code: "last_error",
        en: "; last error at {at}: {code} {message}",
        zh: "；最近一次错误在 {at}：{code} {message}",
    },
    Phrase {
        code: "agent_ok",
        en: "agent \"{agent}\" answers within {millis} ms",
        zh: "智能体“{agent}”在 {millis} 毫秒内应答",
    },
    Phrase {
        code: "agent_slow",
        en: "agent \"{agent}\" at {host} is slow: no answer to a probe within {seconds} s",
        zh: "智能体“{agent}”（{host}）较慢：{seconds} 秒内未应答探测",
    },
    Phrase {
        code: "agent_failed",
        en: "agent \"{agent}\" at {host} does not answer as expected: {code}: {why}",
        zh: "智能体“{agent}”（{host}）未按预期应答：{code}：{why}",
    },
    Phrase {
        code: "agent_gone",
        en: "agent \"{agent}\" was deleted",
        zh: "智能体“{agent}”已被删除",
    },
    Phrase {
        code: "rate_ok",
        en: "the platform accepts what is sent",
        zh: "平台接受所发送的内容",
    },
    Phrase {
        code: "rate_limited",
        en: "the platform limits the rate of this bot until {until}{error}",
        zh: "平台对该机器人限流至 {until}{error}",
    },
    Phrase {
        code: "rate_limited_before",
        en: "the platform limited the rate within the last hour: {message}",
        zh: "平台在最近一小时内有限流：{message}",
    },
    Phrase {
        code: "access_all",
        en: "everybody may use the bot",
        zh: "所有人都可以使用该机器人",
    },
    Phrase {
        code: "access_some",
        en: "{users} person(s) and {chats} chat(s) may use the bot",
        zh: "{users} 人和 {chats} 个会话可以使用该机器人",
    },
    Phrase {
        code: "access_refused",
        en: "{n} message(s) were refused in the last {hours} h because their sender is not on the access list of trigger {trigger}; the last one came from {sender}",
        zh: "最近 {hours} 小时内有 {n} 条消息被拒绝，因为发送者不在触发器 {trigger} 的访问名单中；最近一条来自 {sender}",
    },
    Phrase {
        code: "refusals_ok",
        en: "no message was refused for another reason in the last hour",
        zh: "最近一小时内没有因其他原因被拒绝的消息",
    },
    Phrase {
        code: "refused",
        en: "{n} message(s) were refused in the last hour; the last one, {message}: {reason}",
        zh: "最近一小时内有 {n} 条消息被拒绝；最近一条 {message}：{reason}",
    },
    Phrase {
        code: "users_ok",
        en: "people are known from their first message on; {n} message(s) came in the last day",
        zh: "用户自第一条消息起即被记录；最近一天收到 {n} 条消息",
    },
    Phrase {
        code: "users_mapped",
        en: "the organization's mapper answers; {n} message(s) came in the last day",
        zh: "组织的用户映射服务应答正常；最近一天收到 {n} 条消息",
    },
    Phrase {
        code: "mapper_unreachable",
        en: "the organization's mapper can't be asked who people are: {error}; what it said before still counts, and people whom it was never asked about are answered",
        zh: "无法向组织的用户映射服务查询人员身份：{error}；此前的答复继续有效，从未查询过的人员照常得到回答",
    },
    Phrase {
        code: "sender_withheld",
        en: "the platform did not tell who wrote {n} message(s) of the last day, so their senders can't be recognized; the last one is {message}",
        zh: "最近一天有 {n} 条消息平台未告知发送者，因此无法识别；最近一条为 {message}",
    },
    Phrase {
        code: "person_refused",
        en: "{n} message(s) were refused in the last day because the organization's mapper does not know their sender; the last one came from {sender}",
        zh: "最近一天有 {n} 条消息被拒绝，因为组织的用户映射服务不认识发送者；最近一条来自 {sender}",
    },
    Phrase {
        code: "person_unknown",
        en: "the organization's mapper answers, and does not know everybody: {message}",
        zh: "组织的用户映射服务应答正常，但有不认识的人员：{message}",
    },
    Phrase {
        code: "queue_ok",
        en: "no message waits longer than it should",
        zh: "没有等待过久的消息",
    },
    Phrase {
        code: "queue_stuck",
        en: "message {message} waits since {at} and no run has begun for it",
        zh: "消息 {message} 自 {at} 起等待，尚未开始处理",
    },
    Phrase {
        code: "organization_full",
        en: "message {message} waits since {at}: the organization's limit of {limit} concurrent run(s) is used up",
        zh: "消息 {message} 自 {at} 起等待：组织的并发运行上限 {limit} 已用完",
    },
    Phrase {
        code: "answers_none",
        en: "no message came in the last day",
        zh: "最近一天没有消息",
    },
    Phrase {
        code: "answers_ok",
        en: "the newest message that ended is {state}; none failed in the last day",
        zh: "最近结束的消息状态为 {state}；最近一天没有失败",
    },
    Phrase {
        code: "answers_fail_agent",
        en: "agent \"{agent}\" at {host} failed for message {message}: {code}{words}; {failed} of {ended} message(s) failed in the last day",
        zh: "智能体“{agent}”（{host}）处理消息 {message} 失败：{code}{words}；最近一天 {ended} 条消息中有 {failed} 条失败",
    },
    Phrase {
        code: "answers_fail_platform",
        en: "the answer to message {message} could not be delivered: {code}{why}; {failed} of {ended} message(s) failed in the last day",
        zh: "消息 {message} 的回复无法送达：{code}{why}；最近一天 {ended} 条消息中有 {failed} 条失败",
    },
    Phrase {
        code: "proactive_fail",
        en: "{n} message(s) that the bot was told to send in the last day could not be delivered; the last one is {message}: {code}{why}",
        zh: "最近一天有 {n} 条主动消息无法送达，最近一条为 {message}：{code}{why}",
    },
    Phrase {
        code: "words",
        en: ": {words}",
        zh: "：{words}",
    },
    Phrase {
        code: "empty_ok",
        en: "every answer has text",
        zh: "每个回复都有内容",
    },
    Phrase {
        code: "empty",
        en: "agent \"{agent}\" at {host} gave {n} empty answer(s) in the last hour, the last one to message {message}",
        zh: "智能体“{agent}”（{host}）在最近一小时内有 {n} 次空回复，最近一次是消息 {message}",
    },
    Phrase {
        code: "speed_ok",
        en: "answers begin in time",
        zh: "回复及时开始",
    },
    Phrase {
        code: "slow",
        en: "answers begin slowly: agent \"{agent}\" took {seconds} s to the first text (median of {n} message(s) in the last hour)",
        zh: "回复开始得慢：智能体“{agent}”产生首个文本用了 {seconds} 秒（最近一小时 {n} 条消息的中位数）",
    },
    Phrase {
        code: "dead_none",
        en: "no message of the last day failed for good",
        zh: "最近一天没有最终失败的消息",
    },
    Phrase {
        code: "dead_some",
        en: "{n} message(s) of the last day failed for good and can be redriven",
        zh: "最近一天有 {n} 条消息最终失败，可以重新投递",
    },
    Phrase {
        code: "permissions_not_granted",
        en: "the platform says that the bot doesn't have these permissions, so it may not hear or show everything: {permissions}",
        zh: "平台显示机器人尚未获得以下权限，可能收不到或无法展示部分内容：{permissions}",
    },
    Phrase {
        code: "permissions_missing",
        en: "the platform refused a call because permissions are missing: {permissions}",
        zh: "平台拒绝调用，因为缺少权限：{permissions}",
    },
    Phrase {
        code: "log_ok",
        en: "no warnings in the last day",
        zh: "最近一天没有警告",
    },
    Phrase {
        code: "log_warning",
        en: "newest warning at {at}: {code}: {message}",
        zh: "最近一次警告在 {at}：{code}：{message}",
    },
    Phrase {
        code: "log_error",
        en: "an error at {at}: {code}: {message}",
        zh: "{at} 出现错误：{code}：{message}",
    },
    Phrase {
        code: "follows",
        en: "{detail} (follows from {cause})",
        zh: "{detail}（由 {cause} 引起）",
    },
    Phrase {
        code: "field",
        en: "`{field}`",
        zh: "「{field}」",
    },
    Phrase {
        code: "default_field",
        en: "the token and keys",
        zh: "令牌和密钥",
    },
    Phrase {
        code: "default_fields",
        en: "the credentials",
        zh: "凭据",
    },
];
