// How GoogleTest prints what a session wants done.
#pragma once

#include <fanfare/core/roster.hpp>
#include <fanfare/pusher/session.hpp>

#include <ostream>
#include <variant>

namespace fanfare {

inline void PrintTo(const Member& member, std::ostream* out) {
  *out << member.user_id << ' ' << member.user_info << (member.numeric_id ? " (a number)" : "");
}

}  // namespace fanfare

namespace fanfare::pusher {

inline void PrintTo(const Nothing&, std::ostream* out) { *out << "Nothing"; }
inline void PrintTo(const Send& send, std::ostream* out) { *out << "Send " << send.text; }
inline void PrintTo(const Ping&, std::ostream* out) { *out << "Ping"; }
inline void PrintTo(const Subscribe& subscribe, std::ostream* out) {
  *out << "Subscribe " << subscribe.channel;
  if (subscribe.member == nullptr) return;
  *out << " as ";
  PrintTo(*subscribe.member, out);
}
inline void PrintTo(const Unsubscribe& unsubscribe, std::ostream* out) {
  *out << "Unsubscribe " << unsubscribe.channel;
}
inline void PrintTo(const Relay& relay, std::ostream* out) {
  *out << "Relay " << relay.channel << ' ' << relay.event << ' ' << relay.data;
}
inline void PrintTo(const SignIn& sign_in, std::ostream* out) {
  *out << "SignIn " << sign_in.user_id << ' ' << sign_in.user_data << " with " << sign_in.user_info << ", watching";
  for (const auto& id : sign_in.watchlist) *out << ' ' << id;
  if (sign_in.watchlist_cut) *out << " and no more";
}
inline void PrintTo(const Close& close, std::ostream* out) {
  *out << "Close " << close.code << " '" << close.reason << "' " << close.text;
}
inline void PrintTo(ClientFrameError error, std::ostream* out) { *out << to_string(error); }
inline void PrintTo(UserDataError error, std::ostream* out) { *out << to_string(error); }

}  // namespace fanfare::pusher
