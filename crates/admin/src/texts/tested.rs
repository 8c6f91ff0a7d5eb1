//! Sentences of the tests of integrations and agents.

use super::Phrase;

/// The table.
pub(super) const TABLE: &[Phrase] = &[
    Phrase {
        code: "test_settings_fine",
        en: "the settings can be used",
        zh: "设置可用",
    },
    Phrase {
        code: "test_settings_wrong",
        en: "{why}",
        zh: "设置不可用：{why}",
    },
    Phrase {
        code: "test_credentials_fine",
        en: "the platform takes the credentials",
        zh: "平台接受凭据",
    },
    Phrase {
        code: "test_credentials_untold",
        en: "the platform can't be asked; the first message tells",
        zh: "平台不提供查询，收到第一条消息后才能确认",
    },
    Phrase {
        code: "test_credentials_refused",
        en: "the platform refuses the credentials: code {code}",
        zh: "平台拒绝凭据：代码 {code}",
    },
    Phrase {
        code: "test_platform_slow",
        en: "the platform did not answer within {seconds} s",
        zh: "平台在 {seconds} 秒内没有应答",
    },
    Phrase {
        code: "test_platform_fails",
        en: "the platform did not answer as it should: {code}",
        zh: "平台的应答不正常：{code}",
    },
    Phrase {
        code: "test_connection_up",
        en: "the platform has taken them: the connection is up",
        zh: "平台已接受凭据：连接正常",
    },
    Phrase {
        code: "test_connection_down",
        en: "the platform takes them with the connection, which is not up now: see the status",
        zh: "平台在建立连接时检查凭据，目前没有连接：请查看状态",
    },
    Phrase {
        code: "test_permission_missing",
        en: "the platform refused a call for want of {permissions}",
        zh: "平台拒绝了一次调用，缺少权限：{permissions}",
    },
    Phrase {
        code: "test_permissions_granted",
        en: "the platform says that the bot has the permissions that it needs: {permissions}",
        zh: "平台显示机器人已获得所需的权限：{permissions}",
    },
    Phrase {
        code: "test_permissions_fine",
        en: "nothing was refused for want of one in the last 24 h; the bot needs {permissions}",
        zh: "最近 24 小时没有因缺少权限而被拒绝；机器人需要的权限：{permissions}",
    },
    Phrase {
        code: "test_host_answers",
        en: "{host} answers",
        zh: "{host} 有应答",
    },
    Phrase {
        code: "test_host_forbidden",
        en: "{host} may not be called from this deployment",
        zh: "本部署不允许访问 {host}",
    },
    Phrase {
        code: "test_host_slow",
        en: "{host} does not answer within {seconds} s",
        zh: "{host} 在 {seconds} 秒内没有应答",
    },
    Phrase {
        code: "test_host_unreachable",
        en: "{host} can't be reached from here",
        zh: "从这里无法访问 {host}",
    },
    Phrase {
        code: "test_url_private",
        en: "{url} is not a public https address: the platform can call it only if it runs here too",
        zh: "{url} 不是公网 https 地址：只有平台也在本机运行时才能回调",
    },
    Phrase {
        code: "test_url_of_another",
        en: "{url} answers with status {status}, not from this bridge",
        zh: "{url} 的应答状态是 {status}，并非来自本系统",
    },
    Phrase {
        code: "test_agent_answers",
        en: "the agent answers",
        zh: "智能体应答正常",
    },
    Phrase {
        code: "test_agent_fails",
        en: "{words}",
        zh: "智能体没有正常应答：{words}",
    },
];
