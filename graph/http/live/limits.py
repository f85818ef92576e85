"""The limits of live connections that are no settings."""

# The length of the id that a client chooses for an operation: each message of the operation repeats it.
OPERATION_ID_LENGTH_MAX = 256
# How often the sessions of live connections are checked.
SESSION_CHECK_S = 1.0
# The most sessions that one statement checks.
SESSIONS_PER_STATEMENT = 256
# The time in which a client must open the stream that it has reserved.
RESERVATION_S = 30.0
# The messages of a stream of events that wait for the client. When they are that many, its operations wait.
MESSAGES_WAITING_MAX = 16
