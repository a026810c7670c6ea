// Requests of a backend.
#pragma once

#include <fanfare/pusher/auth.hpp>

#include <chrono>
#include <string>
#include <string_view>

namespace fanfare::test {

// The bytes of a request of a backend, signed.
inline std::string signed_post(std::string_view path, std::string_view body) {
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
  std::string query = "auth_key=key&auth_timestamp=" + std::to_string(now.count());
  query.append("&auth_version=1.0&body_md5=").append(pusher::md5_hex(body));
  std::string text = "POST\n";
  text.append(path).append("\n").append(query);
  std::string request = "POST ";
  request.append(path).append("?").append(query).append("&auth_signature=");
  request.append(pusher::hmac_sha256_hex("secret", text)).append(" HTTP/1.1\r\nHost: x\r\nContent-Length: ");
  return request.append(std::to_string(body.size())).append("\r\n\r\n").append(body);
}

}  // namespace fanfare::test
