// grammY, the most used client for Node: registers a webhook with a secret, edits its answers, reads a file.
import { createServer } from "node:http";
import { Bot, GrammyError, webhookCallback } from "grammy";

const { credentials, endpoints } = JSON.parse(process.env.SIMULATOR);
const bot = new Bot(credentials.botToken, { client: { apiRoot: endpoints.apiBase } });

// Checks that the platform refuses a call with this code, as the client reports it.
async function refused(call, code) {
  const error = await call.then(() => undefined, (error) => error);
  if (!(error instanceof GrammyError) || error.error_code !== code) throw error ?? new Error(`not refused with ${code}`);
  return error;
}

bot.on("message:document", async (context) => {
  const { file_path } = await context.getFile();
  const file = await fetch(`${endpoints.apiBase}/file/bot${credentials.botToken}/${file_path}`);
  await context.reply(await file.text());
});
bot.chatType("private").on("message:text", async (context) => {
  const { parameters } = await refused(context.reply("…"), 429);
  await new Promise((done) => setTimeout(done, parameters.retry_after * 1000));
  const { message_id } = await context.reply("…");
  await context.api.editMessageText(context.chat.id, message_id, `你说：${context.message.text}`);
});
bot.chatType(["group", "supergroup"]).on("message::mention", async (context) => {
  const { parameters } = await refused(context.api.sendMessage(-4001, "…"), 400);
  const { length } = context.entities("mention")[0];
  const options = { reply_parameters: { message_id: context.message.message_id } };
  await context.api.sendMessage(parameters.migrate_to_chat_id, `你说：${context.message.text.slice(length).trim()}`, options);
});

const secretToken = "a-secret_of-the-webhook";
const address = new URL(process.env.CALLBACK);
createServer(webhookCallback(bot, "http", { secretToken })).listen(address.port, address.hostname, async () => {
  await bot.api.setWebhook(address.href, { secret_token: secretToken, allowed_updates: ["message"] });
});
