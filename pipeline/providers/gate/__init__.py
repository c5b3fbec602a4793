"""The gate before the providers: breakers and limits, one for the whole fleet, asked and told in one round trip."""
