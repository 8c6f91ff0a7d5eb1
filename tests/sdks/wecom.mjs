// WeCom's own client for Node: connects, receives a message, streams an answer.
import AiBot, { generateReqId } from "@wecom/aibot-node-sdk";

const { WSClient } = AiBot;
const client = new WSClient({
  botId: "cli_a1b2c3d4e5f60718",
  secret: "secret-of-the-simulation",
  wsUrl: process.env.SIMULATOR,
});
client.on("message.text", async (frame) => {
  const text = frame.body.text.content.replace("@Helper ", "");
  const stream = generateReqId("stream");
  await client.replyStream(frame, stream, "<think></think>", false);
  await client.replyStream(frame, stream, `你说：${text}`, true);
});
client.connect();
