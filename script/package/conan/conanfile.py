# Untested: written after the documentation of Conan 2, and never run. It takes the tree that it stands in:
#
#   conan create script/package/conan --build=missing
#   conan create script/package/conan --build=missing -o "fanfare/*:server=True"
import os

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy
from conan.tools.layout import basic_layout


class FanfareConan(ConanFile):
    name = "fanfare"
    version = "0.1.0"
    description = "Embeddable realtime channels, with a server for the Pusher protocol"
    license = "BSL-1.0"
    topics = ("realtime", "publish-subscribe", "websocket", "pusher", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"server": [True, False]}
    default_options = {"server": False}

    def export_sources(self):
        root = os.path.join(self.recipe_folder, "..", "..", "..")
        for pattern in ("LICENSE", "include/*"):
            copy(self, pattern, root, self.export_sources_folder)

    def layout(self):
        basic_layout(self)

    def requirements(self):
        if self.options.server:
            self.requires("asio/[>=1.22 <2]")
            self.requires("boost/[>=1.81 <2]")
            self.requires("openssl/[>=3 <4]")
            self.requires("websocketpp/[>=0.8.2 <1]")
            if self.settings.os == "Linux":
                self.requires("liburing/[>=2.3 <3]")

    def validate(self):
        check_min_cppstd(self, 20)

    def package_id(self):
        self.info.clear()

    def package(self):
        # The headers are the same with the server and without.
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        copy(self, "*.hpp", os.path.join(self.source_folder, "include"), os.path.join(self.package_folder, "include"))

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "fanfare")
        core = self.cpp_info.components["core"]
        core.set_property("cmake_target_name", "fanfare::fanfare")
        core.set_property("pkg_config_name", "fanfare")
        core.bindirs = core.libdirs = []
        if self.settings.os in ("Linux", "FreeBSD"):
            core.system_libs = ["pthread"]
        if self.options.server:
            server = self.cpp_info.components["server"]
            server.set_property("cmake_target_name", "fanfare::server")
            server.set_property("pkg_config_name", "fanfare-server")
            server.bindirs = server.libdirs = []
            server.defines = ["ASIO_STANDALONE"]
            server.requires = ["core", "asio::asio", "boost::headers", "boost::json", "openssl::ssl", "openssl::crypto",
                               "websocketpp::websocketpp"]
            if self.settings.os == "Linux":
                server.defines.append("FANFARE_IO_URING=1")
                server.requires.append("liburing::liburing")
