// Another unit of a server's program, which is given the application and triggers.
#include <fanfare/app.hpp>

#include <string_view>

bool say(fanfare::App& app, std::string_view text) {
  return static_cast<bool>(app.trigger("CHAT_42", "message", text));
}
