// Lark's own client for Node: connects, receives a message in parts, answers it with a streamed card.
import * as lark from "@larksuiteoapi/node-sdk";

const keys = { appId: "cli_a1b2c3d4e5f60718", appSecret: "secret-of-the-simulation", domain: process.env.SIMULATOR };
const api = new lark.Client(keys);

async function answer(message) {
  const text = JSON.parse(message.content).text.replace("@_user_1 ", "");
  const markdown = { tag: "markdown", element_id: "stream_md", content: "" };
  const card = { schema: "2.0", config: { streaming_mode: true, update_multi: true }, body: { elements: [markdown] } };
  const made = await api.cardkit.v1.card.create({ data: { type: "card_json", data: JSON.stringify(card) } });
  const card_id = made.data.card_id;
  await api.im.v1.message.reply({
    path: { message_id: message.message_id },
    data: { msg_type: "interactive", content: JSON.stringify({ type: "card", data: { card_id } }), uuid: "u-1" },
  });
  await api.cardkit.v1.cardElement.content({
    path: { card_id, element_id: "stream_md" },
    data: { content: `你说：${text}`, sequence: 1, uuid: "u-2" },
  });
  const settings = JSON.stringify({ config: { streaming_mode: false } });
  await api.cardkit.v1.card.settings({ path: { card_id }, data: { settings, sequence: 2, uuid: "u-3" } });
}

const eventDispatcher = new lark.EventDispatcher({}).register({
  // The event is acknowledged when this handler returns, before the answer is complete.
  "im.message.receive_v1": async (data) => void answer(data.message),
});
new lark.WSClient(keys).start({ eventDispatcher });
