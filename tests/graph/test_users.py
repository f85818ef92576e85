from tests.graph.callers import Client, SignUp


async def test_anonymous_sees_a_user_without_the_email(client: Client, sign_up: SignUp) -> None:
    await sign_up("ada")
    data = await client.data('{ userByUsername(username: "ADA") { username email isActive version } }')
    assert data == {"userByUsername": {"username": "ada", "email": None, "isActive": True, "version": 1}}
