// discord.js, the most used client for Node: connects, edits its answer, waits out a rate limit, resumes its session.
import { Client, DiscordAPIError, GatewayIntentBits, Partials, Routes } from "discord.js";

const { credentials, endpoints } = JSON.parse(process.env.SIMULATOR);
const client = new Client({
  intents: [
    GatewayIntentBits.Guilds,
    GatewayIntentBits.GuildMessages,
    GatewayIntentBits.DirectMessages,
    GatewayIntentBits.MessageContent,
  ],
  partials: [Partials.Channel],
  allowedMentions: { parse: [] },
  rest: { api: endpoints.apiBase.replace(/\/v10$/, ""), version: "10" },
});
client.on("messageCreate", async (message) => {
  if (message.author.id === client.user.id) return;
  const nowhere = client.rest.post(Routes.channelMessages("1"), { body: { content: "…" } });
  const error = await nowhere.catch((error) => error);
  if (!(error instanceof DiscordAPIError) || error.code !== 10003) throw error;
  const mentioned = message.mentions.has(client.user);
  if (message.guild && !mentioned) throw new Error("the mention is not read");
  const options = { failIfNotExists: false, nonce: message.id.slice(-20), enforceNonce: true };
  const sent = await message.reply({ content: "…", ...options });
  const text = message.content.replace(`<@${client.user.id}>`, "").trim();
  await sent.edit(`你说：${text}`);
});
client.on("error", (error) => console.error(error));
await client.login(credentials.botToken);
