from support import Answer, Answering, DOCUMENTED_ANSWER


async def test_smoke(answering: Answering) -> None:
    async with answering(Answer(body=DOCUMENTED_ANSWER)) as service:
        result = await service.finish()
        assert result.session_jwt == "string"
        assert len(service.received) == 1
