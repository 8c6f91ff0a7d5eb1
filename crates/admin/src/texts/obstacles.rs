//! Sentences about obstacles outside this deployment.

use super::Phrase;

/// The table.
pub(super) const TABLE: &[Phrase] = &[
    Phrase {
        code: "obstacle",
        en: "{why}: code {code}",
        zh: "{why}：代码 {code}",
    },
    Phrase {
        code: "caller_not_trusted",
        en: "the platform accepts no calls from the address of this deployment",
        zh: "平台不接受来自本部署地址的调用",
    },
    Phrase {
        code: "caller_not_trusted_next",
        en: "Add the public address from which this deployment calls to the trusted addresses of the bot on the platform, then restart the integration.",
        zh: "请在平台上把本部署的出口公网地址加入该机器人的可信 IP（IP 白名单），然后重启该机器人。",
    },
    Phrase {
        code: "webhook_elsewhere",
        en: "another program has set a webhook for the bot, so its messages go there",
        zh: "另一个程序为该机器人设置了 webhook，因此消息发往那里",
    },
    Phrase {
        code: "webhook_elsewhere_next",
        en: "Stop that program or remove its webhook, then restart the integration.",
        zh: "请停止那个程序或移除其 webhook，然后重启该机器人。",
    },
    Phrase {
        code: "delivers_elsewhere",
        en: "the platform delivers the bot's messages to {host}, not to {url}",
        zh: "平台把该机器人的消息发往 {host}，而不是 {url}",
    },
    Phrase {
        code: "delivers_nowhere",
        en: "the platform has no callback address for the bot; it should be {url}",
        zh: "平台上没有该机器人的回调地址；应为 {url}",
    },
    Phrase {
        code: "delivers_next",
        en: "Stop the program that changed the address on the platform, then restart the integration: that registers {url} again.",
        zh: "请停止在平台上修改地址的程序，然后重启该机器人：重启会重新登记 {url}。",
    },
    Phrase {
        code: "delivers_nowhere_next",
        en: "Restart the integration: that registers {url} at the platform again. If the address disappears there once more, another program removes it: stop that program.",
        zh: "请重启该机器人：重启会在平台上重新登记 {url}。若该地址之后又消失，说明有另一个程序将其移除：请停止那个程序。",
    },
    Phrase {
        code: "delivers_here",
        en: "the platform delivers to {url}",
        zh: "平台发往 {url}",
    },
    Phrase {
        code: "endpoint_forbidden",
        en: "an address in `endpoints` may not be called from this deployment",
        zh: "本部署不允许调用 endpoints 中的某个地址",
    },
    Phrase {
        code: "endpoint_forbidden_next",
        en: "Correct the addresses in `endpoints`, or allow private addresses (--allow-private-endpoints).",
        zh: "请更正 endpoints 中的地址，或允许私有地址（--allow-private-endpoints）。",
    },
    Phrase {
        code: "window_closed",
        en: "the platform lets the bot write only for a while after the person's last message, and that time was over",
        zh: "平台只允许机器人在用户最后一条消息后的一段时间内回复，而该时间已过",
    },
    Phrase {
        code: "window_closed_next",
        en: "Ask the person to write again: the answer is delivered then. If the agent takes longer than the platform's reply window, make it answer sooner.",
        zh: "请让对方再发一条消息，届时会送达该回答；若智能体耗时超过平台的回复时限，请让其更快作答。",
    },
    Phrase {
        code: "not_visible",
        en: "the person is outside the visible range of the application",
        zh: "对方不在应用的可见范围内",
    },
    Phrase {
        code: "not_visible_next",
        en: "Add the person to the application's visible range on the platform, then redrive the message.",
        zh: "请在平台上把对方加入应用的可见范围，然后重新投递该消息。",
    },
    Phrase {
        code: "bot_removed",
        en: "the person or group has blocked or removed the bot",
        zh: "对方或群已屏蔽或移除该机器人",
    },
    Phrase {
        code: "bot_removed_next",
        en: "Nothing to do here: the person has to start the bot again, or add it to the group again.",
        zh: "此处无需处理：需要对方重新启用该机器人，或重新将其加入群。",
    },
    Phrase {
        code: "intents_missing",
        en: "the application is not allowed the events that the bot needs",
        zh: "应用未获准接收机器人所需的事件",
    },
    Phrase {
        code: "intents_missing_next",
        en: "Allow the bot these intents on the platform, then restart the integration.",
        zh: "请在平台上为机器人开启这些 intents，然后重启该机器人。",
    },
    Phrase {
        code: "account_changed",
        en: "another bot account received the message, and the integration has been changed to a different one since",
        zh: "该消息由另一个机器人账号收到，而集成此后已改用新的账号",
    },
    Phrase {
        code: "account_changed_next",
        en: "Nothing was sent, because the new bot account doesn't know the chat. To send the answer, set the integration back to the earlier account and redrive the message; else ask the person to write to the new one.",
        zh: "未发送任何内容，因为新的机器人账号不认识该会话。如需送达该回答，请把集成改回原账号，然后重新投递该消息；否则请让对方给新账号发消息。",
    },
    Phrase {
        code: "sessions_used_up",
        en: "the bot has used up the sessions that the platform allows for now",
        zh: "机器人已用完平台当前允许的会话次数",
    },
    Phrase {
        code: "sessions_used_up_next",
        en: "Wait: it connects by itself when the platform allows it again. See what other program connects with this bot.",
        zh: "请等待：平台再次允许时会自动连接。请查看是否有其他程序用该机器人连接。",
    },
    Phrase {
        code: "connection_login",
        en: "no account is logged in",
        zh: "没有账号登录",
    },
    Phrase {
        code: "withheld_groups",
        en: "privacy mode is on: of what is said in groups only commands, replies to the bot and mentions of it arrive",
        zh: "隐私模式已开启：群内只有命令、对机器人的回复和提及会送达",
    },
    Phrase {
        code: "withheld_groups_next",
        en: "The trigger uses all group messages: switch the bot's privacy mode off on the platform, then remove it from each group and add it again; or change groupMessages and groupContext of the trigger.",
        zh: "触发器使用全部群消息：请在平台上关闭机器人的隐私模式，然后将其移出各群再重新加入；或修改触发器的 groupMessages 和 groupContext。",
    },
    Phrase {
        code: "withheld_text",
        en: "the Message Content Intent is off: messages that don't mention the bot arrive without their text",
        zh: "Message Content Intent 未开启：未提及机器人的消息送达时没有正文",
    },
    Phrase {
        code: "withheld_text_next",
        en: "Switch the Message Content Intent on for the bot on the platform; the bot reconnects with it within minutes.",
        zh: "请在平台上为机器人开启 Message Content Intent；几分钟内机器人会自动重新连接。",
    },
    Phrase {
        code: "status_calls_fail",
        en: "Calls to the platform fail and are retried: code {code}. Run the doctor to find out why.",
        zh: "调用平台失败，正在重试：代码 {code}。请运行诊断查找原因。",
    },
    Phrase {
        code: "status_obstacle",
        en: "{next} ({why}: code {code})",
        zh: "{next}（{why}：代码 {code}）",
    },
    Phrase {
        code: "status_empty_answer",
        en: "The agent ended an answer at {at} without text: test the agent.",
        zh: "智能体在 {at} 以空内容结束了回复：请测试该智能体。",
    },
    Phrase {
        code: "status_rate_limited",
        en: "Wait: the platform limits the bot's rate until {until}; replies are held back, not lost.",
        zh: "请等待：平台对该机器人限流至 {until}；回复会延后，不会丢失。",
    },
    Phrase {
        code: "status_turned_away",
        en: "A message was refused at {at} because its sender is not on the access list: add the person or chat if they should use the bot.",
        zh: "{at} 有一条消息被拒绝，因为发送者不在访问名单中：如果应允许其使用，请将其加入名单。",
    },
    Phrase {
        code: "status_refused_message",
        en: "A message was refused at {at}: {reason}. Run the doctor to find out why.",
        zh: "{at} 有一条消息被拒绝：{reason}。请运行诊断查找原因。",
    },
    Phrase {
        code: "status_slow",
        en: "Answers begin slowly, after {seconds} s: see whether the agent is overloaded.",
        zh: "回复开始得慢，需 {seconds} 秒：请查看智能体是否过载。",
    },
];
