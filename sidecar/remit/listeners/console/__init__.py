"""The console: web pages for people. `app.Console` is the application, `server.ConsoleListener` serves it."""
