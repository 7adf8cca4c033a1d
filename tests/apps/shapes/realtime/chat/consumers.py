from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer


class Echo(AsyncJsonWebsocketConsumer):
    """What one browser says, all browsers hear."""

    groups = ("echo",)

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        await self.channel_layer.group_send("echo", {"type": "said", "text": content["text"]})

    async def said(self, event: dict[str, Any]) -> None:
        await self.send_json({"text": event["text"]})
