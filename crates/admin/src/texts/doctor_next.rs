//! Sentences of the doctor's next steps.

use super::Phrase;

/// The table.
pub(super) const TABLE: &[Phrase] = &[
    Phrase {
        code: "stopped_next",
        en: "Start the integration.",
        zh: "请启动该机器人。",
    },
    Phrase {
        code: "settings_next",
        en: "Correct the settings of the integration.",
        zh: "请更正该机器人的设置。",
    },
    Phrase {
        code: "trigger_missing_next",
        en: "Create a trigger that binds the integration to an agent.",
        zh: "请创建触发器，把该机器人绑定到一个智能体。",
    },
    Phrase {
        code: "trigger_disabled_next",
        en: "Enable trigger {trigger}.",
        zh: "请启用触发器 {trigger}。",
    },
    Phrase {
        code: "wrong_integration_next",
        en: "If trigger {trigger} was meant for this one, change its integration.",
        zh: "如果触发器 {trigger} 本应属于该机器人，请修改它所绑定的机器人。",
    },
    Phrase {
        code: "credentials_next",
        en: "Compare {fields} with the values on the platform and save them again.",
        zh: "请将 {fields} 与平台上的值核对后重新保存。",
    },
    Phrase {
        code: "credentials_unknown_next",
        en: "Send the bot a message, then examine again.",
        zh: "请给机器人发一条消息，然后重新诊断。",
    },
    Phrase {
        code: "credentials_unavailable_next",
        en: "Examine again in a minute; if it stays so, see whether the platform has an outage.",
        zh: "请一分钟后重新诊断；若仍如此，请查看平台是否有故障。",
    },
    Phrase {
        code: "platform_unreachable_next",
        en: "Check the address in endpoints.{field}, the DNS and the firewall between this deployment and {host}.",
        zh: "请检查 endpoints.{field} 中的地址，以及本部署与 {host} 之间的 DNS 和防火墙。",
    },
    Phrase {
        code: "signature_next",
        en: "Compare {field} here with the value on the platform, and save it again.",
        zh: "请将此处的 {field} 与平台上的值核对后重新保存。",
    },
    Phrase {
        code: "url_not_public_next",
        en: "Give this deployment a public https address (--public-url).",
        zh: "请为本部署配置公网 https 地址（--public-url）。",
    },
    Phrase {
        code: "url_not_public_or_connect_next",
        en: "Give this deployment a public https address (--public-url), or use a long connection.",
        zh: "请为本部署配置公网 https 地址（--public-url），或改用长连接。",
    },
    Phrase {
        code: "url_never_called_next",
        en: "Enter {url} as the callback address on the platform, save it there, and send the bot a message.",
        zh: "请在平台上把 {url} 填为回调地址并保存，然后给机器人发一条消息。",
    },
    Phrase {
        code: "relay_none_next",
        en: "Start the relay, or see in its log why it doesn't run.",
        zh: "请启动中继，或查看其日志了解未运行的原因。",
    },
    Phrase {
        code: "relay_pending_next",
        en: "Wait 15 s; if it stays so, see the relay's log.",
        zh: "请等待 15 秒；若仍如此，请查看中继的日志。",
    },
    Phrase {
        code: "connection_next",
        en: "See the integration's log.",
        zh: "请查看该机器人的日志。",
    },
    Phrase {
        code: "agent_slow_next",
        en: "See how long the agent takes for its first text, and whether it is overloaded.",
        zh: "请查看智能体产生首个文本需要多久，以及是否过载。",
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
        code: "agent_limit_next",
        en: "A quota or rate limit of agent \"{agent}\" at {host} is used up: wait or raise it there, then test the agent.",
        zh: "智能体“{agent}”（{host}）的额度或速率限制已用完：请等待或在其一侧提高额度，然后测试该智能体。",
    },
    Phrase {
        code: "agent_not_found_next",
        en: "{host} answers, but doesn't have what agent \"{agent}\" asks for: check the path of its address and the name of the model or app, then test the agent.",
        zh: "{host} 有应答，但没有智能体“{agent}”所请求的内容：请检查地址的路径以及模型或应用的名称，然后测试该智能体。",
    },
    Phrase {
        code: "agent_fault_next",
        en: "The agent at {host} runs, but fails: see its own log, or that of the proxy in front of it; then test agent \"{agent}\".",
        zh: "{host} 上的智能体在运行，但出错：请查看其自身的日志或其前面代理的日志，然后测试智能体“{agent}”。",
    },
    Phrase {
        code: "agent_gone_next",
        en: "Bind the integration to another agent.",
        zh: "请把该机器人绑定到另一个智能体。",
    },
    Phrase {
        code: "rate_limited_next",
        en: "Wait: replies are held back, not lost. If it comes often, ask the platform for a higher limit.",
        zh: "请等待：回复会延后，不会丢失。若经常出现，请向平台申请更高的额度。",
    },
    Phrase {
        code: "access_refused_next",
        en: "Add the person or chat to the trigger's access list if they should use the bot.",
        zh: "如果应允许其使用，请将该人员或会话加入触发器的访问名单。",
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
        code: "mapper_unreachable_next",
        en: "Check the mapper's address, certificate and secret, and that it answers within 3 s.",
        zh: "请检查用户映射服务的地址、证书和密钥，并确认其在 3 秒内应答。",
    },
    Phrase {
        code: "sender_withheld_next",
        en: "Give the app the platform's permission to read who sends messages.",
        zh: "请在平台上为应用开通读取消息发送者的权限。",
    },
    Phrase {
        code: "person_unknown_next",
        en: "Add the person to the mapper's directory, or link them by hand on the page People.",
        zh: "请将该人员加入用户映射服务的名录，或在“人员”页面手动关联。",
    },
    Phrase {
        code: "queue_stuck_next",
        en: "See whether the runner runs and its queue is processed.",
        zh: "请查看 runner 是否运行、队列是否在处理。",
    },
    Phrase {
        code: "organization_full_next",
        en: "Wait until a run ends, or raise limits.maxConcurrentRuns of the organization.",
        zh: "请等待运行结束，或提高组织的 limits.maxConcurrentRuns。",
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
        code: "proactive_fail_next",
        en: "Check the chat or person that message {message} was sent to, and what the code means on the platform; then send it again.",
        zh: "请检查消息 {message} 的目标会话或用户，以及该代码在平台上的含义，然后重新发送。",
    },
    Phrase {
        code: "empty_next",
        en: "Test the agent, and see why it ends its answers without text.",
        zh: "请测试智能体，并查看其为何以空内容结束回复。",
    },
    Phrase {
        code: "slow_next",
        en: "See whether the agent is overloaded, or choose a faster model.",
        zh: "请查看智能体是否过载，或选择更快的模型。",
    },
    Phrase {
        code: "permissions_next",
        en: "Grant {permissions} to the bot on the platform, and publish it there.",
        zh: "请在平台上为机器人开通 {permissions} 并发布。",
    },
];
