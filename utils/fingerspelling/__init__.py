"""The embedded data: real signers' letters, drawn, alone and spelled into words."""
