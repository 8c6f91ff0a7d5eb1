//! What the doctor reports.

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
        code: "stopped_next",
        en: "Start the integration.",
        zh: "请启动该机器人。",
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
        code: "settings_next",
        en: "Correct the settings of the integration.",
        zh: "请更正该机器人的设置。",
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
        code: "trigger_missing_next",
        en: "Create a trigger that binds the integration to an agent.",
        zh: "请创建触发器，把该机器人绑定到一个智能体。",
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
        code: "trigger_disabled_next",
        en: "Enable trigger {trigger}.",
        zh: "请启用触发器 {trigger}。",
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
        code: "wrong_integration_next",
        en: "If trigger {trigger} was meant for this one, change its integration.",
        zh: "如果触发器 {trigger} 本应属于该机器人，请修改它所绑定的机器人。",
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
        code: "credentials_next",
        en: "Compare {fields} with the values on the platform and save them again.",
        zh: "请将 {fields} 与平台上的值核对后重新保存。",
    },
    Phrase {
        code: "credentials_unknown",
        en: "the platform can't be asked about the credentials; the first message shows whether they work",
        zh: "无法向平台询问凭据；收到第一条消息后才能确定是否可用",
    },
    Phrase {
        code: "credentials_unknown_next",
        en: "Send the bot a message, then examine again.",
        zh: "请给机器人发一条消息，然后重新诊断。",
    },
    Phrase {
        code: "credentials_unavailable",
        en: "the platform did not answer as expected when asked about the credentials: {code}",
        zh: "向平台询问凭据时未得到预期的应答：{code}",
    },
    Phrase {
        code: "credentials_unavailable_next",
        en: "Examine again in a minute; if it stays so, see whether the platform has an outage.",
        zh: "请一分钟后重新诊断；若仍如此，请查看平台是否有故障。",
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
        code: "platform_unreachable_next",
        en: "Check the address in endpoints.{field}, the DNS and the firewall between this deployment and {host}.",
        zh: "请检查 endpoints.{field} 中的地址，以及本部署与 {host} 之间的 DNS 和防火墙。",
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
        code: "signature_bad",
        en: "a request at {at} could not be proved: {reason}; check {field}",
        zh: "{at} 的请求未通过验证：{reason}；请检查 {field}",
    },
    Phrase {
        code: "signature_next",
        en: "Compare {field} here with the value on the platform, and save it again.",
        zh: "请将此处的 {field} 与平台上的值核对后重新保存。",
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
        code: "url_not_public_next",
        en: "Give this deployment a public https address (--public-url), or use a long connection.",
        zh: "请为本部署配置公网 https 地址（--public-url），或改用长连接。",
    },
    Phrase {
        code: "url_never_called",
        en: "the platform has never called {url} with a proof",
        zh: "平台从未以有效签名调用过 {url}",
    },
    Phrase {
        code: "url_never_called_next",
        en: "Enter {url} as the callback address on the platform, save it there, and send the bot a message.",
        zh: "请在平台上把 {url} 填为回调地址并保存，然后给机器人发一条消息。",
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
        code: "relay_none_next",
        en: "Start the relay, or see in its log why it doesn't run.",
        zh: "请启动中继，或查看其日志了解未运行的原因。",
    },
    Phrase {
        code: "relay_pending",
        en: "{n} relay process(es) are alive, but none holds this connection yet",
        zh: "有 {n} 个中继进程存活，但还没有进程持有该连接",
    },
    Phrase {
        code: "relay_pending_next",
        en: "Wait 15 s; if it stays so, see the relay's log.",
        zh: "请等待 15 秒；若仍如此，请查看中继的日志。",
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
        code: "connection_next",
        en: "See the integration's log.",
        zh: "请查看该机器人的日志。",
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
        code: "agent_slow_next",
        en: "See how long the agent takes for its first text, and whether it is overloaded.",
        zh: "请查看智能体产生首个文本需要多久，以及是否过载。",
    },
    Phrase {
        code: "agent_failed",
        en: "agent \"{agent}\" at {host} does not answer as expected: {code}: {why}",
        zh: "智能体“{agent}”（{host}）未按预期应答：{code}：{why}",
    },
    Phrase {
        code: "agent_failed_next",
        en: "Check that the agent at {host} runs, and that its address is right; then test agent \"{agent}\".",
        zh: "请确认 {host} 上的智能体正在运行且地址正确，然后测试智能体“{agent}”。",
    },
    Phrase {
        code: "agent_key_next",
        en: "Check the key ({fields}) of agent \"{agent}\", then test the agent.",
        zh: "请检查智能体“{agent}”的密钥（{fields}），然后测试该智能体。",
    },
    Phrase {
        code: "agent_gone",
        en: "agent \"{agent}\" was deleted",
        zh: "智能体“{agent}”已被删除",
    },
    Phrase {
        code: "agent_gone_next",
        en: "Bind the integration to another agent.",
        zh: "请把该机器人绑定到另一个智能体。",
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
        code: "rate_limited_next",
        en: "Wait: replies are held back, not lost. If it comes often, ask the platform for a higher limit.",
        zh: "请等待：回复会延后，不会丢失。若经常出现，请向平台申请更高的额度。",
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
        code: "access_refused_next",
        en: "Add the person or chat to the trigger's access list if they should use the bot.",
        zh: "如果应允许其使用，请将该人员或会话加入触发器的访问名单。",
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
        code: "refused_stale_next",
        en: "The messages came more than 24 h late: see whether the platform or the queue was down.",
        zh: "消息迟到超过 24 小时：请查看平台或队列是否曾中断。",
    },
    Phrase {
        code: "refused_full_next",
        en: "Too many messages waited in one chat: see why the agent takes so long.",
        zh: "同一会话中等待的消息过多：请查看智能体为何耗时过长。",
    },
    Phrase {
        code: "refused_mapper_next",
        en: "See whether the mapper of the organization works and allows this person.",
        zh: "请查看组织的用户映射服务是否正常，以及是否允许该人员。",
    },
    Phrase {
        code: "refused_next",
        en: "See the message's steps and the integration's log.",
        zh: "请查看该消息的步骤和该机器人的日志。",
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
        code: "mapper_unreachable_next",
        en: "Check the mapper's address, certificate and secret, and that it answers within 3 s.",
        zh: "请检查用户映射服务的地址、证书和密钥，并确认其在 3 秒内应答。",
    },
    Phrase {
        code: "sender_withheld",
        en: "the platform did not tell who wrote {n} message(s) of the last day, so their senders can't be recognized; the last one is {message}",
        zh: "最近一天有 {n} 条消息平台未告知发送者，因此无法识别；最近一条为 {message}",
    },
    Phrase {
        code: "sender_withheld_next",
        en: "Give the app the platform's permission to read who sends messages.",
        zh: "请在平台上为应用开通读取消息发送者的权限。",
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
        code: "person_unknown_next",
        en: "Add the person to the mapper's directory, or link them by hand on the page People.",
        zh: "请将该人员加入用户映射服务的名录，或在“人员”页面手动关联。",
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
        code: "queue_stuck_next",
        en: "See whether the runner runs and its queue is processed.",
        zh: "请查看 runner 是否运行、队列是否在处理。",
    },
    Phrase {
        code: "organization_full",
        en: "message {message} waits since {at}: the organization's limit of {limit} concurrent run(s) is used up",
        zh: "消息 {message} 自 {at} 起等待：组织的并发运行上限 {limit} 已用完",
    },
    Phrase {
        code: "organization_full_next",
        en: "Wait until a run ends, or raise limits.maxConcurrentRuns of the organization.",
        zh: "请等待运行结束，或提高组织的 limits.maxConcurrentRuns。",
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
        code: "words",
        en: ": {words}",
        zh: "：{words}",
    },
    Phrase {
        code: "answers_fail_agent_next",
        en: "See why the agent fails; when the cause is gone, redrive message {message}.",
        zh: "请查看智能体失败的原因；原因消除后，重新投递消息 {message}。",
    },
    Phrase {
        code: "answers_fail_platform_next",
        en: "See what the code means on the platform; when the cause is gone, redrive message {message}.",
        zh: "请查看该代码在平台上的含义；原因消除后，重新投递消息 {message}。",
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
        code: "empty_next",
        en: "Test the agent, and see why it ends its answers without text.",
        zh: "请测试智能体，并查看其为何以空内容结束回复。",
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
        code: "slow_next",
        en: "See whether the agent is overloaded, or choose a faster model.",
        zh: "请查看智能体是否过载，或选择更快的模型。",
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
        code: "permissions_missing",
        en: "the platform refused a call because permissions are missing: {permissions}",
        zh: "平台拒绝调用，因为缺少权限：{permissions}",
    },
    Phrase {
        code: "permissions_next",
        en: "Grant {permissions} to the bot on the platform, and publish it there.",
        zh: "请在平台上为机器人开通 {permissions} 并发布。",
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
