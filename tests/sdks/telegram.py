"""python-telegram-bot, the most used client for Python: polls, streams an answer as a draft, edits one in a group, reads a file."""

import asyncio
import json
import os

from telegram import Update
from telegram.error import BadRequest, ChatMigrated, RetryAfter
from telegram.ext import Application, MessageHandler, filters

bot = json.loads(os.environ["SIMULATOR"])
api = bot["endpoints"]["apiBase"]


async def alone(update, context):
    message = update.message
    await context.bot.send_message_draft(message.chat_id, 1, "你说")
    answer = f"你说：{message.text}"
    try:
        await message.reply_text(answer)
        raise AssertionError("the rate limit was not reported")
    except RetryAfter as limited:
        await asyncio.sleep(float(limited.retry_after))
    await message.reply_text(answer)


async def in_group(update, context):
    message = update.message
    (mention,) = message.parse_entities(["mention"]).values()
    assert mention == f"@{context.bot.username}", mention
    try:
        await context.bot.send_message(-4001, "…")
        raise AssertionError("the group was not migrated")
    except ChatMigrated as migrated:
        assert migrated.new_chat_id == message.chat_id, migrated
    sent = await message.reply_text("…", do_quote=True)
    try:
        await sent.edit_text("…")
        raise AssertionError("an edit without a change was accepted")
    except BadRequest as refused:
        assert "not modified" in refused.message, refused
    text = message.text.removeprefix(mention).strip()
    await sent.edit_text(f"你说：{text}")


async def read(update, context):
    file = await update.message.document.get_file()
    await update.message.reply_text((await file.download_as_bytearray()).decode())


client = Application.builder().token(bot["credentials"]["botToken"])
client = client.base_url(f"{api}/bot").base_file_url(f"{api}/file/bot").build()
client.add_handler(MessageHandler(filters.Document.ALL, read))
client.add_handler(MessageHandler(filters.ChatType.PRIVATE, alone))
client.add_handler(MessageHandler(filters.ChatType.GROUPS, in_group))
client.run_polling(allowed_updates=[Update.MESSAGE])
