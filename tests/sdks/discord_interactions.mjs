// Discord's own library for interactions over HTTP, and discord.js for its API: verifies, defers, answers with the interaction's token.
import { createServer } from "node:http";
import { InteractionResponseType, InteractionType, verifyKey } from "discord-interactions";
import { REST, Routes, SlashCommandBuilder } from "discord.js";

const { credentials, endpoints } = JSON.parse(process.env.SIMULATOR);
const rest = new REST({ version: "10", api: endpoints.apiBase.replace(/\/v10$/, "") }).setToken(credentials.botToken);

async function answer(interaction) {
  const content = `你说：${interaction.data.options[0].value}`;
  const route = Routes.webhookMessage(credentials.applicationId, interaction.token);
  // The platform may not have processed our first response yet: until then it doesn't know the token (10015).
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await rest.patch(route, { auth: false, body: { content, allowed_mentions: { parse: [] } } });
    } catch (error) {
      if (error.code !== 10015 || attempt === 50) throw error;
      await new Promise((done) => setTimeout(done, 100));
    }
  }
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const signed = ["x-signature-ed25519", "x-signature-timestamp"].map((name) => request.headers[name]);
  const say = (status, text) => response.writeHead(status, { "content-type": "application/json" }).end(text);
  if (!(await verifyKey(body, ...signed, credentials.publicKey))) return say(401, "");
  const interaction = JSON.parse(body);
  if (interaction.type === InteractionType.PING) return say(200, JSON.stringify({ type: InteractionResponseType.PONG }));
  say(200, JSON.stringify({ type: InteractionResponseType.DEFERRED_CHANNEL_MESSAGE_WITH_SOURCE }));
  await answer(interaction);
});
const address = new URL(process.env.CALLBACK);
server.listen(address.port, address.hostname, async () => {
  await rest.patch(Routes.currentApplication(), { body: { interactions_endpoint_url: address.href } });
  const ask = new SlashCommandBuilder().setName("ask").setDescription("Asks the agent");
  ask.addStringOption((option) => option.setName("prompt").setDescription("What to ask").setRequired(true));
  await rest.put(Routes.applicationCommands(credentials.applicationId), { body: [ask.toJSON()] });
});
