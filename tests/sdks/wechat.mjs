// WeChat's own plugin: logs in by QR code, polls, shows that it is typing, answers, decrypts a picture.
import { register } from "node:module";

// The parts of the plugin's host that these modules import.
const host = `
  export const resolvePreferredOpenClawTmpDir = () => process.env.OPENCLAW_STATE_DIR;
  export const normalizeAccountId = (id) => id;
  export const withFileLock = (path, options, run) => run();`;
const hooks = `
  const host = "data:text/javascript," + ${JSON.stringify(encodeURIComponent(host))};
  export const resolve = (name, context, next) =>
    name.startsWith("openclaw/") ? { url: host, shortCircuit: true } : next(name, context);`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);

// The plugin requests QR codes from a fixed address.
const { endpoints } = JSON.parse(process.env.SIMULATOR);
const { fetch } = globalThis;
globalThis.fetch = (url, options) => fetch(`${url}`.replace("https://ilinkai.weixin.qq.com", endpoints.apiBase), options);

const plugin = new URL("node_modules/@tencent-weixin/openclaw-weixin/dist/src/", import.meta.url);
const load = (path) => import(new URL(path, plugin));
const { startWeixinLoginWithQr, waitForWeixinLogin } = await load("auth/login-qr.js");
const { getConfig, getUpdates, notifyStart, sendTyping } = await load("api/api.js");
const { sendMessageWeixin } = await load("messaging/send.js");
const { downloadMediaFromItem } = await load("media/media-download.js");

const { sessionKey, qrcodeUrl } = await startWeixinLoginWithQr({});
if (!qrcodeUrl.startsWith("https://")) throw new Error(`no code to show: ${qrcodeUrl}`);
const login = await waitForWeixinLogin({ sessionKey });
if (!login.connected) throw new Error(login.message);
const bot = { baseUrl: login.baseUrl || endpoints.apiBase, token: login.botToken };

async function textOf(item) {
  if (item.text_item) return `你说：${item.text_item.text}`;
  let bytes;
  const saveMedia = async (buffer) => ((bytes = buffer), { path: "kept in memory" });
  const errLog = console.error;
  await downloadMediaFromItem(item, { cdnBaseUrl: endpoints.cdnBase, saveMedia, log: errLog, errLog, label: "picture" });
  return bytes.toString();
}

async function answer(message) {
  const [person, contextToken] = [message.from_user_id, message.context_token];
  const { typing_ticket } = await getConfig({ ...bot, ilinkUserId: person, contextToken });
  const sign = (status) => sendTyping({ ...bot, body: { ilink_user_id: person, typing_ticket, status } });
  await sign(1);
  const text = await textOf(message.item_list[0]);
  await sendMessageWeixin({ to: person, text, opts: { ...bot, contextToken } });
  await sign(2);
}

await notifyStart(bot);
let cursor = "";
for (;;) {
  const updates = await getUpdates({ ...bot, get_updates_buf: cursor });
  if (updates.errcode || updates.ret) throw new Error(JSON.stringify(updates));
  for (const message of updates.msgs) await answer(message);
  cursor = updates.get_updates_buf || cursor;
}
